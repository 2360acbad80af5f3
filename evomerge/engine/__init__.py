"""A recipe becomes weights: on a live model, in a folder, or as a LoRA.

In reading order:

- ``load_merger``: load base and experts.
- ``merger``: plan the merged parameters of a recipe.
- ``layer_groups``: layers and their groups.
- ``method_arguments``: a recipe's numbers as its method takes them.
- ``modify``: LiNeS and SVC.
- ``dense/``: merge parameter by parameter, in blocks of rows.
- ``core/``: merge LoRA experts as small matrices.
- ``live_model``: a model in memory that becomes one recipe after another.
- ``materialize``: a recipe's model in memory.
- ``export``: a recipe as a folder.
- ``extract/``: a LoRA from a model's difference to its base.
- ``check_finite``: refuse NaN and infinity.
- ``threads``: small computations side by side.
"""
