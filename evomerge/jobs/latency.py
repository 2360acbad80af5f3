"""How fast a model answers and what it takes, beside the base with its adapters, which it stands in for."""

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

from evomerge.config import Config
from evomerge.errors import UserError
from evomerge.files.small_files import write_text
from evomerge.inference.device import default_device, default_dtype
from evomerge.inference.serving.latency import Latencies, Spread, measure
from evomerge.inference.serving.latency_settings import LatencySettings
from evomerge.inference.serving.model_size import Size, peak_memory, size_of
from evomerge.inference.serving.served_model import Serving
from evomerge.jobs.steps.arguments import model_source, required
from evomerge.jobs.steps.environment import environment
from evomerge.recipes.recipe_yaml import load
from evomerge.types import Recipe
from evomerge.weights.sources import resolve


def run(config: Config) -> None:
    """Prints times and sizes of ``model``, and of ``base`` with ``adapters``; ``out=FILE`` keeps them as JSON.

    ``run=DIR`` stands for the winner of a run, and for the base and adapters that it was merged from.
    """
    settings = latency_settings(config)
    console = Console(highlight=False)
    measured = _measured(_servings(config), settings, console)
    if config.out is not None:
        _write(Path(config.out), measured)


def measure_winner(config: Config, folder: Path, recipe: Recipe) -> None:
    """``best/latency.json`` of the run in ``folder``; what is there already of the same winner stays."""
    settings = latency_settings(config)
    path = folder / "best" / "latency.json"
    identity = {"recipe": recipe.fingerprint, "settings": json.loads(json.dumps(asdict(settings)))}
    if path.is_file() and identity.items() <= json.loads(path.read_text()).items():
        return
    _write(path, identity | _measured(_winner(folder, recipe), settings, Console(highlight=False)))


def latency_settings(config: Config) -> LatencySettings:
    """From ``latency``, ``backend.dtype`` and ``backend.device``.

    Raises:
        UserError: a number that nothing can be measured with.
    """
    device = config.backend.device or default_device()
    return LatencySettings(
        batch_sizes=tuple(config.latency.batch_sizes),
        prompt_tokens=config.latency.prompt_tokens,
        new_tokens=config.latency.new_tokens,
        rounds=config.latency.rounds,
        dtype=config.backend.dtype or default_dtype(device),
        device=device,
    )


def _servings(config: Config) -> list[Serving]:
    if config.run is not None:
        given = [key for key in ("model", "adapter", "base", "adapters") if getattr(config, key)]
        if given:
            raise UserError(f"run= names model, base and adapters itself: leave out {given[0]}=")
        if isinstance(config.run, list):
            raise UserError(f"job=latency takes one run, got {len(config.run)} (run={config.run})")
        folder = Path(str(config.run))
        return _winner(folder, load(folder / "best" / "recipe.yaml"))
    if bool(config.adapters) != (config.base is not None):
        raise UserError("the model is compared with a base and its adapters: give both base=... and adapters=[...]")
    name = str(required(config, "model")[0])
    title = "/".join(Path(name).parts[-2:])
    adapter = () if config.adapter is None else (_folder(config.adapter),)
    servings = [Serving(f"{title} + {Path(str(config.adapter)).name}" if adapter else title, _folder(name), adapter)]
    if config.base is not None:
        servings.append(_beside(config.base, [Path(name).name for name in config.adapters], config.adapters))
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


def _measured(servings: Sequence[Serving], settings: LatencySettings, console: Console) -> dict[str, Any]:
    """Everything, as plain values. Memory comes first, while nothing else is loaded."""
    sizes = {serving.name: size_of(serving) for serving in servings}
    with console.status("peak memory, each model in a process of its own") as status:
        memory = {serving.name: peak_memory(serving, settings) for serving in servings}
        latencies = measure(
            servings,
            settings,
            lambda name, way, batch, round_: status.update(
                f"batch {batch}, round {round_ + 1} of {settings.rounds}: {name}, {way}"
            ),
        )
    console.print(_times(latencies, settings))
    for name, reason in latencies.left_out.items():
        console.print(f"left out: {name} ({reason})")
    console.print(_sizes(sizes, memory))
    return {
        "settings": asdict(settings),
        "environment": environment(),
        "threads": torch.get_num_threads(),
        "rows": [asdict(row) for row in latencies.rows],
        "left_out": latencies.left_out,
        "sizes": {name: asdict(size) | {"peak_memory_bytes": memory[name]} for name, size in sizes.items()},
    }


def _write(path: Path, measured: Mapping[str, Any]) -> None:
    write_text(path, json.dumps(measured, indent=2))


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
