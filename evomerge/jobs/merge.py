"""Recipe in, model folder out."""

from __future__ import annotations

from pathlib import Path

from evomerge.config import Config
from evomerge.engine.export import export_model
from evomerge.jobs.setup import recipe_merger, required
from evomerge.recipes.recipe_yaml import load


def run(config: Config) -> None:
    recipe_file, out = required(config, "recipe", "out")
    recipe = load(recipe_file)
    export_model(recipe_merger(recipe), recipe, Path(out))
    print(f"{recipe.method} of {', '.join(expert.name for expert in recipe.experts)} written to {out}")
