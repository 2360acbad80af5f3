"""Mergers over the models that a recipe or configuration names. Loads neither tasks nor clusters."""

from __future__ import annotations

from evomerge.engine.merge import Merger
from evomerge.types import Expert, Recipe
from evomerge.weights.quantized import plain_checkpoint
from evomerge.weights.sources import resolve
from evomerge.weights.task_vector import open_task_vector


def merger_for(base: str, experts: tuple[Expert, ...]) -> Merger:
    """Opens base and experts, lazily: wrong folders and adapters of another base are found here, before any work."""
    checkpoint = plain_checkpoint(resolve(base))
    return Merger(checkpoint, {expert.name: open_task_vector(checkpoint, expert.source) for expert in experts})


def recipe_merger(recipe: Recipe) -> Merger:
    return merger_for(recipe.base, recipe.experts)
