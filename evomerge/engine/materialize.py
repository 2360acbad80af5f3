"""Make a recipe's transformers model in memory."""

from __future__ import annotations

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from evomerge.engine.live_model import LiveModel
from evomerge.engine.load_merger import recipe_merger
from evomerge.types import Recipe


def materialize(recipe: Recipe, device: str = "cpu") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The merged transformers model in the recipe's dtype, in eval mode, and its tokenizer.

    Raises:
        UserError: the base or an expert is missing, or the method cannot merge them.
    """
    merger = recipe_merger(recipe)
    live = LiveModel(merger.base.folder, recipe.dtype, device)
    live.apply(merger, recipe)
    return live.model, live.tokenizer
