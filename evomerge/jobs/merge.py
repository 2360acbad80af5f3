"""``job=merge``: a recipe in, a model folder out, or the recipe as a mergekit file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evomerge.errors import UserError
from evomerge.jobs.registry import job, needed


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        recipe: file of a recipe, of a combination of adapters, or of mergekit.
        out: folder of the merged model.
        seed: of random masks, instead of the recipe's.
        max_shard: largest file of weights, such as 5GB.
        mergekit: file to write the recipe to in mergekit's form; without ``out`` nothing is merged.

    Raises:
        UserError: no recipe, nowhere to write to, or a negative seed.
    """

    recipe: str | None = None
    out: str | None = None
    seed: int | None = None
    max_shard: str = "5GB"
    mergekit: str | None = None

    def __post_init__(self) -> None:
        needed(self.recipe, "job=merge needs recipe=FILE, for example recipe=outputs/default/best/recipe.yaml")
        needed(self.out or self.mergekit, "job=merge needs out=DIR, for example out=merged")
        if self.seed is not None and self.seed < 0:
            raise UserError(f"seed must be at least 0, got {self.seed}: leave it out to take the recipe's")


@job(
    "merge",
    Settings,
    """\
python -m evomerge job=merge recipe=RECIPE.yaml out=DIR                recipe -> model folder
    [max_shard=5GB] [seed=0] [mergekit=FILE.yaml]: also writes a mergekit file; without out= it writes nothing else""",
)
def run(settings: Settings) -> None:
    """Merge by a recipe of evomerge, a combination of adapters or a mergekit file, told apart by their keys."""
    # late: torch, and all merge methods
    from evomerge.files.overwrite_guard import output_path
    from evomerge.jobs.steps import combine_adapters
    from evomerge.jobs.steps.merge_card import mergekit_card, write_card
    from evomerge.jobs.steps.merge_models import input_models, merge_documents, merge_recipe
    from evomerge.mergekit import is_mergekit
    from evomerge.mergekit import load as load_mergekit
    from evomerge.recipes.combine_yaml import is_combination
    from evomerge.weights.stream_writer import shard_bytes

    file, out, max_shard = str(settings.recipe), settings.out, shard_bytes(settings.max_shard)
    if not is_combination(file) and not is_mergekit(file):
        mergekit = None if settings.mergekit is None else Path(settings.mergekit)
        merge_recipe(file, out, mergekit, settings.seed, max_shard)
        return
    if settings.mergekit is not None:
        raise UserError(f"mergekit={settings.mergekit} takes a recipe of evomerge, {file} is none: leave it out")
    assert out is not None
    if is_combination(file):
        combine_adapters.run(file, out, settings.seed)
        return
    documents = load_mergekit(file)
    target = output_path(out, input_models(documents), is_folder=Path(out).suffix != ".safetensors")
    merge_documents(documents, target, settings.seed or 0, max_shard)
    write_card(mergekit_card(documents, file, str(target)), target)
