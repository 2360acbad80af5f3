"""Recipes as YAML, and the space that a search proposes them from.

In reading order:

- ``recipe_yaml``: read and write recipes.
- ``combine_yaml``: read recipes that combine adapters.
- ``yaml_files``: YAML as plain values.
- ``yaml_nodes``: check a value, name file and key.
- ``validate``: check a recipe against its method.
- ``duplicate_experts``: refuse one model as two experts.
- ``space_settings``: what a user sets of the models and the space.
- ``untuned_merges``: the usual merges, from which a search starts.
- ``profiles``: weights per layer that a search scales as a whole.
- ``space``: parameters, and the recipe that they mean.
"""
