"""Open the base and the model, adapter or recipe that an adapter is extracted from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evomerge.engine.extract.deltas import Deltas, deltas_of_expert
from evomerge.errors import UserError
from evomerge.jobs.registry import needed
from evomerge.jobs.steps.model_names import model_source
from evomerge.types import Recipe
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.quantized import plain_checkpoint
from evomerge.weights.sources import loadable, resolve
from evomerge.weights.task_vector import lora_vector

if TYPE_CHECKING:
    from evomerge.engine.merger import Merger


@dataclass(frozen=True)
class Origin:
    """What an adapter is extracted from: ``model`` is a folder (a checkpoint or an adapter) or a recipe."""

    deltas: Deltas
    base: Checkpoint
    base_name: str
    model: Path | Recipe
    merger: Merger | None = None

    @property
    def inputs(self) -> list[str]:
        """Names of all models that are read."""
        if isinstance(self.model, Path):
            return [str(self.base.path), str(self.model)]
        return [self.model.base, *(expert.source for expert in self.model.experts)]


def rank_name(rank: int) -> str:
    """The folder of one rank's adapter among others."""
    return f"rank-{rank:03d}"


def origin_of(base: str | None, model: str | None, recipe: str | None) -> Origin:
    """Open base and model, or all models of a recipe.

    Raises:
        UserError: neither is given, or both; a folder that is missing, or a model that does not fit the base.
    """
    if recipe is not None:
        if model is not None or base is not None:
            raise UserError("recipe= names its own base and experts: leave out base= and model=")
        return _origin_of_recipe(recipe)
    base = needed(base, "job=extract_lora needs base=DIR (or recipe=FILE), for example base=smollm2-135m")
    model = needed(model, "job=extract_lora needs model=DIR, for example model=outputs/default/best/model")
    source = model_source(base)
    checkpoint, folder = plain_checkpoint(resolve(source)), resolve(model_source(model))
    expert = (
        lora_vector(Adapter(folder), checkpoint)
        if (folder / "adapter_config.json").is_file()
        else plain_checkpoint(folder)
    )
    return Origin(deltas_of_expert(checkpoint, expert), checkpoint, loadable(source, checkpoint.folder), folder)


def _origin_of_recipe(file: str) -> Origin:
    # late: merge methods, which a checkpoint needs none of
    from evomerge.engine.extract.merge_into_deltas import deltas_of_merge
    from evomerge.engine.load_merger import recipe_merger
    from evomerge.recipes.recipe_yaml import load

    recipe = load(file)
    merger = recipe_merger(recipe)
    base_name = loadable(recipe.base, merger.base.folder)
    return Origin(deltas_of_merge(merger, recipe), merger.base, base_name, recipe, merger)
