"""What a notebook asks of a run: scores of any recipe, ablations, geometry.

In reading order:

- ``run``: the object that a notebook opens: tables, front, winner, models and scores.
- ``recipe_scorer``: score any recipe in this process.
- ``rescore``: score recipes as a run did, and compare them.
- ``ablations``: vary a recipe part by part.
- ``geometry``: norms and overlaps of task vectors.
- ``difference_figure``: draw paired differences.
"""
