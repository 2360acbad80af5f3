"""Recipe in, model folder out."""

from __future__ import annotations

from pathlib import Path

from evomerge.config import Config
from evomerge.engine.export import export_model
from evomerge.jobs import combine
from evomerge.jobs.arguments import required
from evomerge.jobs.setup import recipe_merger
from evomerge.recipes.combine_yaml import is_combination
from evomerge.recipes.recipe_yaml import load


def run(config: Config) -> None:
    recipe_file, out = required(config, "recipe", "out")
    if is_combination(recipe_file):
        return combine.run(recipe_file, out)
    recipe = load(recipe_file)
    export_model(recipe_merger(recipe), recipe, Path(out))
    print(f"{recipe.method} of {', '.join(expert.name for expert in recipe.experts)} written to {out}")
