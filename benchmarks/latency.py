"""Compare answering by a merged model with its base and three adapters that are switched per request.

    python benchmarks/latency.py [--run outputs/sql_code_json] [--batch 1 8 32] [--rounds 7] [--threads 2] [--keep]

The merged model is the winner of ``--run``, or else a merge of the shipped experts in a temporary folder; the time of a
token does not depend on the values of weights. Both sides use transformers and PEFT with their defaults. ``switching``
sorts a batch by adapter and calls ``set_adapter`` before each group. The last line of the output is for the first batch
size. ``--keep`` writes benchmarks/results/latency.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from kept_results import keep

from evomerge.engine.export import export_model
from evomerge.engine.merger import Merger
from evomerge.inference.serving.latency import LatencyRow, measure
from evomerge.inference.serving.latency_settings import LatencySettings
from evomerge.inference.serving.model_size import peak_memory, served_size
from evomerge.inference.serving.served_model import ALONE, SWITCHING, Serving
from evomerge.jobs.steps.model_names import model_source
from evomerge.recipes.recipe_yaml import load
from evomerge.types import Expert, Recipe
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.sources import resolve
from evomerge.weights.task_vector import open_task_vector

EXPERTS = tuple(Expert(name, f"evomerge:experts/{name}") for name in ("sql", "code", "json"))


def write_model(folder: Path) -> tuple[Path, Recipe]:
    """A merge of the shipped experts."""
    recipe = Recipe(model_source("smollm2-135m"), EXPERTS, "task_arithmetic", ((1.0, 0.7, 1.0),))
    base = Checkpoint(resolve(recipe.base))
    merger = Merger(base, {expert.name: open_task_vector(base, expert.source) for expert in EXPERTS})
    return export_model(merger, recipe, folder), recipe


def shown(row: LatencyRow) -> str:
    return (
        f"{row.name + ', ' + row.way:30} batch {row.batch:3}: first token {row.first_token_ms.median:8.1f} ms, "
        f"{row.ms_per_token.median:7.1f} ms/token ({row.ms_per_token.low:.1f}-{row.ms_per_token.high:.1f}), "
        f"{row.ratio.median:.2f} x ({row.ratio.low:.2f}-{row.ratio.high:.2f}), "
        f"{row.tokens_per_second.median:.0f} tokens/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="run folder whose winner is measured")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/latency.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    settings = LatencySettings(list(given.batch), rounds=given.rounds)
    with tempfile.TemporaryDirectory() as temporary:
        if given.run is None:
            folder, recipe = write_model(Path(temporary) / "model")
        else:
            folder, recipe = given.run / "best" / "model", load(given.run / "best" / "recipe.yaml")
        adapters = tuple(str(resolve(expert.source)) for expert in recipe.experts)
        servings = (Serving("merged", str(folder)), Serving("base + adapters", str(resolve(recipe.base)), adapters))
        memory = {serving.name: peak_memory(serving, settings) for serving in servings}
        sizes = {serving.name: served_size(serving) for serving in servings}
        measured = measure(servings, settings)
    for row in measured.rows:
        print(shown(row))
    first = {row.way: row for row in measured.rows if row.batch == given.batch[0]}
    result = {
        "merged_ms_per_token": round(first[ALONE].ms_per_token.median, 1),
        "switching_ms_per_token": round(first[SWITCHING].ms_per_token.median, 1),
        "ratio": round(first[SWITCHING].ratio.median, 2),
    }
    if given.keep:
        about = {
            "threads": given.threads,
            "settings": asdict(settings) | {"dtype": "bfloat16", "device": "cpu"},
            "rows": [asdict(row) for row in measured.rows],
            "left_out": measured.left_out,
            "sizes": {name: asdict(size) | {"peak_memory_bytes": memory[name]} for name, size in sizes.items()},
        }
        keep("latency", result | about)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
