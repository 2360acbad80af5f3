"""Turn a recipe into weights: streamed to disk, written onto a live model, or as small core matrices.

In reading order:

- ``merger``: plan how to merge each parameter of a recipe.
- ``dense/``: merge parameters block by block.
- ``core/``: merge LoRA experts as small matrices in a common basis, or combine them as PEFT does.
- ``extract/``: write a difference to the base as an adapter.
- ``method_arguments``: turn a recipe's numbers into its method's arguments.
- ``layer_groups``: the layer group of a parameter.
- ``modify``: apply LiNeS and SVC to merged deltas.
- ``check_finite``: refuse NaN and infinity.
- ``load_merger``: load the models that a recipe names, for merging.
- ``export``: write a recipe's model as a model folder or an adapter.
- ``materialize``: make a recipe's model in memory.
- ``live_model``: apply one recipe after another to a model in memory.
- ``threads``: run small computations side by side, each on one thread.
"""
