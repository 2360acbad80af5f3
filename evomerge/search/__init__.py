"""Search: samplers propose parameters, a pool scores the recipes, the store remembers.

In reading order:

- ``settings``: what a user sets of a search.
- ``base``: protocols of space and listener.
- ``begin``: claim the run folder.
- ``loop``: the search loop.
- ``samplers/``: the samplers; a new one is a new file there.
- ``surrogate/``: the model behind the default sampler.
- ``noise``: the noise of each score, from the items' outcomes.
- ``distributions``: parameters as Optuna's distributions.
- ``store``: proposals and trials on disk.
- ``same_search``: refuse a folder of another search.
- ``records``: trials as JSON text.
- ``evaluations``: scores of selection and test items on disk.
- ``known_answers``: answers on record, for the models that are scored next.
- ``runaway``: stop candidates that ramble.
- ``racing``: stop candidates that are surely behind.
- ``pareto``: Pareto mathematics.
- ``choose``: finalists and winner.
- ``progress``: where a search stands.
- ``tables``: parquet files.
- ``tracking/``: metrics for TensorBoard and W&B.
"""
