"""Recipes as YAML, and the space of recipes that is searched."""

from evomerge.recipes.recipe_yaml import dump, load, parse
from evomerge.recipes.space import Parameter, SearchSpace, default_methods

__all__ = ["Parameter", "SearchSpace", "default_methods", "dump", "load", "parse"]
