"""Merge by a recipe or by the documents of a mergekit file, and write a recipe as a mergekit file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evomerge.cluster.machine import cores
from evomerge.engine.export import export_model
from evomerge.engine.load_merger import recipe_merger
from evomerge.engine.merger import Merger
from evomerge.errors import UserError
from evomerge.files.atomic_output import passing_folder
from evomerge.files.overwrite_guard import output_path
from evomerge.files.small_files import write_text
from evomerge.jobs.steps.bytes_progress import bytes_progress
from evomerge.jobs.steps.merge_card import recipe_card, write_card
from evomerge.mergekit import MergeConfig, dump, is_mergekit, unused_parameters
from evomerge.mergekit.plan import plan_merge
from evomerge.mergekit.write_model import write_plan
from evomerge.recipes.recipe_yaml import load
from evomerge.types import Recipe
from evomerge.weights.sources import loadable, resolve
from evomerge.weights.stream_writer import MAX_SHARD_BYTES


def merge_recipe(file: str, out: str | None, mergekit: Path | None, seed: int | None, max_shard_bytes: int) -> None:
    """Merge a recipe of evomerge to the folder ``out``, write it to the file ``mergekit``, or both.

    Args:
        seed: of random masks; None: the recipe's.
    """
    recipe = load(file)
    if seed is not None:
        recipe = replace(recipe, seed=seed)
    inputs = [recipe.base, *(expert.source for expert in recipe.experts)]
    target = None if out is None else output_path(out, inputs)
    merger = recipe_merger(recipe)
    if mergekit is not None:
        write_mergekit(merger, recipe, mergekit)
    if target is None:
        return
    with bytes_progress(f"merging by {recipe.method}") as progress:
        export_model(merger, recipe, target, progress, cores(), max_shard_bytes)
    write_card(recipe_card(recipe, str(target)), target)
    print(f"{recipe.method} of {', '.join(expert.name for expert in recipe.experts)} written to {target}")


def write_mergekit(merger: Merger, recipe: Recipe, file: Path) -> None:
    """Write a recipe as a mergekit file, models by their folders or hub ids.

    Raises:
        UserError: mergekit cannot say what the recipe says; or ``file`` is there and no mergekit file.
    """
    if file.exists() and not is_mergekit(str(file)):
        raise UserError(f"mergekit={file} is there and no mergekit file: give another name")
    text = dump(recipe, merger.layers, lambda name: loadable(name, resolve(name)))
    write_text(file, text)
    print(f"{recipe.method} of {', '.join(expert.name for expert in recipe.experts)} as a mergekit file: {file}")


def input_models(documents: Sequence[MergeConfig]) -> list[str | None]:
    """Models and adapters that the documents of a mergekit file read, results of earlier documents left out."""
    models = [model for document in documents for model in document.models if not model.step]
    return [name for model in models for name in (model.path, model.lora)]


def merge_documents(
    documents: Sequence[MergeConfig], out: Path, seed: int, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Merge the documents of a mergekit file, one after another; ``out`` gets the last result.

    The others' results lie in a temporary folder beside it, where there is room for models.
    """
    with passing_folder(out) as scratch:
        steps: dict[str, Path] = {}
        for number, document in enumerate(documents):
            for parameter in unused_parameters(document):
                print(f"note: {document.merge_method} has no parameter '{parameter}', it changes nothing")
            last = number == len(documents) - 1
            target = out if last else scratch / f"step-{number}"
            plan = plan_merge(document, steps, seed)
            name = "" if document.name is None else f" ({document.name})"
            with bytes_progress(f"merging by {document.merge_method}{name}") as progress:
                write_plan(plan, target, progress, max_shard_bytes, threads=cores())
            if document.name is not None:
                steps[document.name] = target
    print(f"{documents[-1].merge_method} of {', '.join(map(str, documents[-1].models))} written to {out}")
