"""Write the winner as a model folder and as a LoRA adapter: ``best/model`` and ``best/lora``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from evomerge.engine.export import LoraExport, export_lora, export_model
from evomerge.engine.extract.plan import ExtractOptions
from evomerge.engine.merger import Merger
from evomerge.files.overwrite_guard import output_path
from evomerge.files.small_files import write_text
from evomerge.recipes.recipe_yaml import dump
from evomerge.types import Artifact, Recipe

Better = Callable[[Mapping[str, Artifact]], str]


def export_winner(
    merger: Merger, recipe: Recipe, folder: Path, rank: int | None, better: Better
) -> tuple[Artifact, Artifact]:
    """Write both, and ``lora.json`` about the adapter. A resumed run writes them again only if recipe or rank changed.

    Args:
        rank: of the LoRA; None: exact if all experts are adapters, else the default of an extraction.
        better: chooses the best of several adapters, and gives its name. It is called for a rank below the exact one:
            truncating the merge gives the nearest adapter, but compressing the experts first may keep more skill.

    Returns:
        The model and the adapter.
    """
    text, asked = dump(recipe), {"asked": rank}
    model, lora, written, about = (folder / n for n in ("model", "lora", "recipe.yaml", "lora.json"))
    current = written.is_file() and written.read_text() == text
    if not current or json.loads(about.read_text()).get("asked") != rank:
        for place in (model, lora):
            output_path(str(place), [recipe.base, *(expert.source for expert in recipe.experts)])
        written.unlink(missing_ok=True)
        export_model(merger, recipe, model)
        export = _export_lora(merger, recipe, lora, rank, better)
        write_text(about, json.dumps(asdict(export) | asked | {"folder": lora.name}, indent=2))
        write_text(written, text)  # last: where it is, the other files are complete
    return Artifact(str(model.resolve())), _adapter(merger, lora)


def _export_lora(merger: Merger, recipe: Recipe, folder: Path, rank: int | None, better: Better) -> LoraExport:
    # Each is scored in a folder of its own: a worker does not read a folder again that it has loaded.
    places = {how: folder.with_name(f"{folder.name}-{how}") for how in ("truncated", "compressed")}
    for place in places.values():  # a killed run may have left them
        shutil.rmtree(place, ignore_errors=True)
    adapters = all(vector.is_lora for vector in merger.experts.values())
    if rank is None and not adapters:
        rank = ExtractOptions.rank
    export = export_lora(merger, recipe, folder, rank)
    if export.how != "truncated" or not merger.is_low_rank(recipe):
        return export
    folder.rename(places["truncated"])
    other = export_lora(merger, recipe, places["compressed"], rank, compressed=True)
    best = better({how: _adapter(merger, place) for how, place in places.items()})
    places.pop(best).rename(folder)
    for place in places.values():
        shutil.rmtree(place)
    return replace(export if best == export.how else other, folder=folder)


def _adapter(merger: Merger, folder: Path) -> Artifact:
    return Artifact(str(merger.base.folder.resolve()), str(folder.resolve()))
