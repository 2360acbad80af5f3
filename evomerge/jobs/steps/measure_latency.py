"""Measure how fast a model answers and what it takes, beside the base with its adapters, and print both as tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from evomerge.errors import UserError
from evomerge.files.small_files import write_text
from evomerge.inference.backend_settings import BackendSettings
from evomerge.inference.device import default_device, default_dtype
from evomerge.inference.serving.latency import Latencies, Spread, measure
from evomerge.inference.serving.latency_settings import LatencySettings
from evomerge.inference.serving.model_size import Size, peak_memory, served_size
from evomerge.inference.serving.served_model import Serving
from evomerge.jobs.steps.environment import environment
from evomerge.jobs.steps.model_names import model_source
from evomerge.recipes.recipe_yaml import load
from evomerge.types import Recipe
from evomerge.weights.sources import resolve


def measure_winner(settings: LatencySettings, backend: BackendSettings, folder: Path, recipe: Recipe) -> None:
    """Write ``best/latency.json`` of the run in ``folder``, unless it holds the same winner with the same settings."""
    path = folder / "best" / "latency.json"
    identity = {"recipe": recipe.fingerprint, "settings": _plain(settings, backend)}
    if path.is_file() and identity.items() <= json.loads(path.read_text()).items():
        return
    write(path, identity | measured(_winner(folder, recipe), settings, backend))


def winner_of(run: Path) -> list[Serving]:
    """The winner of the run in a folder, and beside it the base and adapters that it was merged from.

    Raises:
        UserError: there is no such run, or it has no winner yet.
    """
    if not run.is_dir():
        raise UserError(f"there is no run folder {run}: give one, for example run=outputs/default")
    recipe = run / "best" / "recipe.yaml"
    if not recipe.is_file():
        raise UserError(f"{run} has no winner yet (best/recipe.yaml): let its search finish, or give model=DIR")
    return _winner(run, load(recipe))


def servings_beside(model: str, adapter: str | None, base: str | None, adapters: Sequence[str]) -> list[Serving]:
    """A model, with its adapter if it has one, and beside it ``base`` with ``adapters``."""
    title = "/".join(Path(model).parts[-2:])
    own = () if adapter is None else (_folder(adapter),)
    name = title if adapter is None else f"{title} + {Path(adapter).name}"
    servings = [Serving(name, _folder(model), own)]
    if base is not None:
        servings.append(_beside(base, [Path(name).name for name in adapters], adapters))
    return servings


def _winner(folder: Path, recipe: Recipe) -> list[Serving]:
    """With the base and its adapters; full models have no base to share, so the winner of those stands alone."""
    servings = [Serving("best/model", _folder(str(folder / "best" / "model")))]
    if all((Path(_folder(expert.source)) / "adapter_config.json").is_file() for expert in recipe.experts):
        names = [expert.name for expert in recipe.experts]
        servings.append(_beside(recipe.base, names, [expert.source for expert in recipe.experts]))
    return servings


def _beside(base: str, names: Sequence[str], adapters: Sequence[str]) -> Serving:
    return Serving(f"base + {', '.join(names)}", _folder(base), tuple(_folder(name) for name in adapters))


def _folder(name: str) -> str:
    return str(resolve(model_source(name)).resolve())


def measured(servings: Sequence[Serving], settings: LatencySettings, backend: BackendSettings) -> dict[str, Any]:
    """Measure, print the tables, and return everything as plain values. Memory comes first, while nothing else is
    loaded."""
    console = Console(highlight=False)
    device, dtype = _computed_on(backend)
    sizes = {serving.name: served_size(serving) for serving in servings}
    with console.status("peak memory, each model in a process of its own") as status:
        memory = {serving.name: peak_memory(serving, settings, dtype=dtype, device=device) for serving in servings}
        latencies = measure(
            servings,
            settings,
            lambda name, way, batch, round_: status.update(
                f"batch {batch}, round {round_ + 1} of {settings.rounds}: {name}, {way}"
            ),
            dtype=dtype,
            device=device,
        )
    console.print(_times(latencies, settings))
    for name, reason in latencies.left_out.items():
        console.print(f"left out: {name} ({reason})")
    console.print(_sizes(sizes, memory))
    return {
        "settings": _plain(settings, backend),
        "environment": environment(),
        "threads": torch.get_num_threads(),
        "rows": [asdict(row) for row in latencies.rows],
        "left_out": latencies.left_out,
        "sizes": {name: asdict(size) | {"peak_memory_bytes": memory[name]} for name, size in sizes.items()},
    }


def _computed_on(backend: BackendSettings) -> tuple[str, str]:
    """Device and dtype."""
    device = backend.device or default_device()
    return device, backend.dtype or default_dtype(device)


def _plain(settings: LatencySettings, backend: BackendSettings) -> dict[str, Any]:
    device, dtype = _computed_on(backend)
    values = asdict(settings) | {"dtype": dtype, "device": device}
    del values["measure"]
    return values


def write(path: Path, found: Mapping[str, Any]) -> None:
    """Write the figures as JSON."""
    write_text(path, json.dumps(found, indent=2))


def _times(latencies: Latencies, settings: LatencySettings) -> Table:
    """Fits 80 columns with one interval; ``out=FILE`` has them all."""
    title = f"{settings.prompt_tokens} + {settings.new_tokens} tokens, medians of {settings.rounds} rounds in turns"
    table = Table(title=f"{title} ({'95 % interval' if settings.rounds > 5 else 'range'})", box=SIMPLE_HEAD)
    table.add_column("model")
    for column in ("batch", "first\ntoken ms", "ms/token", "ratio", "tokens/s"):
        table.add_column(column, justify="right", no_wrap=True)
    batch = latencies.rows[0].batch
    for row in latencies.rows:
        if row.batch != batch:
            table.add_section()
            batch = row.batch
        table.add_row(
            f"{row.name}: {row.way}",
            str(batch),
            f"{row.first_token_ms.median:.0f}",
            _interval(row.ms_per_token),
            f"{row.ratio.median:.2f}",
            f"{row.tokens_per_second.median:.0f}",
        )
    return table


def _interval(value: Spread) -> str:
    digits = 0 if value.median >= 100 else 1
    return f"{value.median:.{digits}f} ({value.low:.{digits}f}-{value.high:.{digits}f})"


def _sizes(sizes: Mapping[str, Size], memory: Mapping[str, int | None]) -> Table:
    table = Table(title="what they take", box=SIMPLE_HEAD)
    for column in ("model", "parameters", "disk MB", "peak memory MB"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, size in sizes.items():
        peak = memory[name]
        shown = "unknown" if peak is None else f"{peak / 1e6:,.0f}"
        table.add_row(name, f"{size.parameters:,}", f"{size.disk_bytes / 1e6:,.1f}", shown)
    return table
