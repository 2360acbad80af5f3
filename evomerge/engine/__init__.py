"""Turn a recipe into weights: streamed to disk, written onto a live model, or as small core matrices.

In reading order:

- ``merger``: plan a recipe; how each parameter is merged.
- ``dense/``: parameters merged block by block.
- ``core/``: LoRA experts merged as small matrices in a common basis, or combined as PEFT does.
- ``extract/``: a difference to the base as an adapter.
- ``method_arguments``: a recipe's numbers as its method takes them.
- ``layer_groups``: the layer group of a parameter.
- ``modify``: LiNeS and SVC on merged deltas.
- ``check_finite``: the errors for NaN and infinity.
- ``load_merger``: a merger over the models that a recipe names.
- ``export``: a recipe as a model folder or an adapter.
- ``materialize``: a recipe as a model in memory.
- ``live_model``: one model in memory whose weights become those of recipe after recipe.
- ``threads``: work for several threads that each compute on one.
"""
