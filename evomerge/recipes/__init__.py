"""Recipes as YAML, and the space that a search proposes them from.

In reading order:

- ``recipe_yaml``: read and write recipes.
- ``combine_yaml``: read recipes that combine adapters.
- ``yaml_files``: YAML as plain values.
- ``yaml_nodes``: check a value, name file and key.
- ``validate``: check a recipe against its method.
- ``duplicate_experts``: refuse one model as two experts.
- ``space``: parameters, and the recipe that they mean.
"""

from evomerge.recipes.recipe_yaml import dump, load, parse
from evomerge.recipes.space import Parameter, SearchSpace, default_methods

__all__ = ["Parameter", "SearchSpace", "default_methods", "dump", "load", "parse"]
