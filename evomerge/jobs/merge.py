"""Recipe in, model folder out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evomerge.config import Config
from evomerge.engine.export import export_model
from evomerge.engine.mergekit_plan import plan_merge
from evomerge.engine.mergekit_write import write_plan
from evomerge.engine.mergers import recipe_merger
from evomerge.engine.stream import cores
from evomerge.jobs import combine
from evomerge.jobs.arguments import required
from evomerge.jobs.bytes_progress import bytes_progress
from evomerge.jobs.merge_card import mergekit_card, recipe_card, write_card
from evomerge.recipes.combine_yaml import is_combination
from evomerge.recipes.mergekit import MergeConfig, is_mergekit, unused_parameters
from evomerge.recipes.mergekit import load as load_mergekit
from evomerge.recipes.recipe_yaml import load
from evomerge.weights.appearing import passing_folder


def run(config: Config) -> None:
    recipe_file, out = required(config, "recipe", "out")
    if is_combination(recipe_file):
        combine.run(recipe_file, out)
    elif is_mergekit(recipe_file):
        documents = load_mergekit(recipe_file)
        merge_documents(documents, Path(out), config.seed)
        write_card(mergekit_card(documents, recipe_file, out), out)
    else:
        recipe = load(recipe_file)
        with bytes_progress(f"merging by {recipe.method}") as progress:
            export_model(recipe_merger(recipe), recipe, Path(out), progress, threads=cores())
        write_card(recipe_card(recipe, out), out)
        print(f"{recipe.method} of {', '.join(expert.name for expert in recipe.experts)} written to {out}")


def merge_documents(documents: Sequence[MergeConfig], out: Path, seed: int) -> None:
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
                write_plan(plan, target, progress, threads=cores())
            if document.name is not None:
                steps[document.name] = target
    print(f"{documents[-1].merge_method} of {', '.join(map(str, documents[-1].models))} written to {out}")
