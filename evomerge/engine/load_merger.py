"""Load the base and the experts that a recipe names, for merging."""

from __future__ import annotations

from evomerge.engine.merger import Merger
from evomerge.errors import UserError
from evomerge.types import Expert, Recipe
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.quantized import plain_checkpoint
from evomerge.weights.sources import resolve
from evomerge.weights.task_vector import TaskVector, open_task_vector


def merger_for(base: str, experts: tuple[Expert, ...]) -> Merger:
    """Open base and experts lazily; wrong folders and adapters of another base raise an error before any work."""
    checkpoint = plain_checkpoint(resolve(base))
    return Merger(checkpoint, {expert.name: _opened(expert, checkpoint) for expert in experts})


def recipe_merger(recipe: Recipe) -> Merger:
    """Open a recipe's models, and refuse more layer groups than layers, because some weights would have no effect."""
    merger = merger_for(recipe.base, recipe.experts)
    if len(recipe.weights) > merger.layers:
        raise UserError(
            f"weights are given for {len(recipe.weights)} layer groups, {recipe.base} has {merger.layers} layers: "
            "give one for each layer at most"
        )
    return merger


def _opened(expert: Expert, base: Checkpoint) -> TaskVector:
    try:
        return open_task_vector(base, expert.source)
    except UserError as error:
        raise UserError(f"expert '{expert.name}': {error}") from error
