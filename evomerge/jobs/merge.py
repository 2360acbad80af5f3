"""Recipe in, model folder out; or the recipe as a mergekit file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evomerge.config import Config
from evomerge.engine.dense.stream import cores
from evomerge.engine.export import export_model
from evomerge.engine.load_merger import recipe_merger
from evomerge.engine.merger import Merger
from evomerge.errors import UserError
from evomerge.files.atomic_output import passing_folder
from evomerge.files.overwrite_guard import output_path
from evomerge.files.small_files import write_text
from evomerge.jobs.steps import combine_adapters
from evomerge.jobs.steps.arguments import required
from evomerge.jobs.steps.bytes_progress import bytes_progress
from evomerge.jobs.steps.merge_card import mergekit_card, recipe_card, write_card
from evomerge.mergekit import MergeConfig, dump, is_mergekit, unused_parameters
from evomerge.mergekit import load as load_mergekit
from evomerge.mergekit.plan import plan_merge
from evomerge.mergekit.write_model import write_plan
from evomerge.recipes.combine_yaml import is_combination
from evomerge.recipes.recipe_yaml import load
from evomerge.types import Recipe
from evomerge.weights.sources import loadable, resolve
from evomerge.weights.stream_writer import MAX_SHARD_BYTES, shard_bytes


def run(config: Config) -> None:
    (recipe_file,) = required(config, "recipe")
    if config.mergekit is None:
        required(config, "out")
    max_shard_bytes = shard_bytes(config.max_shard)
    if not is_combination(recipe_file) and not is_mergekit(recipe_file):
        merge_recipe(config, recipe_file, max_shard_bytes)
        return
    if config.mergekit is not None:
        raise UserError(f"mergekit={config.mergekit} takes a recipe of evomerge, {recipe_file} is none: leave it out")
    (out,) = required(config, "out")
    if is_combination(recipe_file):
        combine_adapters.run(recipe_file, out, config.seed)
    else:
        documents = load_mergekit(recipe_file)
        target = output_path(out, _inputs(documents), is_folder=Path(out).suffix != ".safetensors")
        merge_documents(documents, target, config.seed or 0, max_shard_bytes)
        write_card(mergekit_card(documents, recipe_file, str(target)), target)


def merge_recipe(config: Config, recipe_file: str, max_shard_bytes: int) -> None:
    """Merge a recipe of evomerge to ``out``, write it to the file ``mergekit``, or both."""
    recipe = load(recipe_file)
    if config.seed is not None:
        recipe = replace(recipe, seed=config.seed)
    inputs = [recipe.base, *(expert.source for expert in recipe.experts)]
    out = None if config.out is None else output_path(config.out, inputs)
    merger = recipe_merger(recipe)
    if config.mergekit is not None:
        write_mergekit(merger, recipe, Path(config.mergekit))
    if out is None:
        return
    with bytes_progress(f"merging by {recipe.method}") as progress:
        export_model(merger, recipe, out, progress, cores(), max_shard_bytes)
    write_card(recipe_card(recipe, str(out)), out)
    print(f"{recipe.method} of {', '.join(expert.name for expert in recipe.experts)} written to {out}")


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


def _inputs(documents: Sequence[MergeConfig]) -> list[str | None]:
    models = [model for document in documents for model in document.models if not model.step]
    return [name for model in models for name in (model.path, model.lora)]


def merge_documents(
    documents: Sequence[MergeConfig], out: Path, seed: int, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Merge the documents of a mergekit file, one after another; the last one's result is ``out``.

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
