"""Write the model cards of a run's winner: ``README.md`` in ``best/model`` and ``best/lora``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evomerge.files.package_data import data_dir
from evomerge.files.small_files import write_text
from evomerge.hub.model_card_facts import Parent, read_parents
from evomerge.report.commands import evomerge, listed, setting, task_settings
from evomerge.report.model_card import AdapterFacts, CardValues, model_card, public_recipe
from evomerge.report.results import results
from evomerge.report.run_data import RunData
from evomerge.report.tables import markdown
from evomerge.report.verdict import verdict
from evomerge.types import Score

KINDS = ("model", "lora")


def write_cards(run_dir: Path | str) -> list[Path]:
    """Write the card of each exported artifact, each in one step; none while there is no winner.

    Raises:
        UserError: there is no run in ``run_dir``.
    """
    run = RunData(run_dir)
    written = []
    for kind in KINDS:
        folder = run.folder / "best" / kind
        if run.winner is not None and folder.is_dir():
            write_text(folder / "README.md", run_card(run, kind))
            written.append(folder / "README.md")
    return written


def run_card(run: RunData, kind: str, where: str | None = None) -> str:
    """Text of the card of ``best/model`` (``kind`` "model") or ``best/lora`` ("lora").

    Args:
        run: a run with a winner.
        kind: which artifact.
        where: what a loader takes, a folder or a hub id; default: the artifact's folder relative to the run's start.
    """
    assert run.winner is not None
    recipe = run.winner.recipe
    base, experts = read_parents(recipe.base, recipe.experts)
    scores = run.delivered.get(kind, {})
    return model_card(
        CardValues(
            name=run.name if kind == "model" else f"{run.name} LoRA",
            where=where or f"{run.config.get('outputs', 'outputs')}/{run.name}/best/{kind}",
            base=base,
            experts=experts,
            method=recipe.method,
            recipe=public_recipe(recipe, base, experts),
            origin=_origin(run),
            adapter=adapter_facts(run.folder) if kind == "lora" else None,
            results=_results(run, scores),
            scores=scores,
            metrics={task: _metric(run.config["tasks"][task]) for task in scores},
            made=_made(run, base, experts),
        )
    )


def adapter_facts(run_dir: Path) -> AdapterFacts | None:
    """Rank and error of ``best/lora``, from ``best/lora.json``; None if there is no such file."""
    file = run_dir / "best" / "lora.json"
    if not file.is_file():
        return None
    about = json.loads(file.read_text(encoding="utf-8"))
    return AdapterFacts(about["rank"], about["how"], about["relative_error"], tuple(about["left_out"]))


def _origin(run: RunData) -> str:
    failed = f", {len(run.failures)} of them failed" if run.failures else ""
    return (
        f"evomerge searched {len(run.records)} merges{failed}, and on the items that choose this one kept most of its "
        "weakest skill."
    )


def _results(run: RunData, scores: Mapping[str, Score]) -> str:
    """Table, verdict, and the scores of the exported files themselves."""
    listed = ", ".join(
        f"{task} {100 * s.mean:.1f} % ({100 * s.low:.1f} to {100 * s.high:.1f}, {s.items} items)"
        for task, s in scores.items()
    )
    table = results(run)
    said = verdict(run, table)
    return "\n\n".join(
        part
        for part in (
            "On the test items, which the search never saw: percent with 95 % intervals. *Smallest retention* is the "
            "share of its expert's score that a model keeps on its weakest task.",
            markdown(table).rstrip(),
            f"{said.headline}. {said.detail}",
            f"The files of this folder, loaded and scored again: {listed}." if listed else "",
        )
        if part
    )


def _metric(task: Mapping[str, Any]) -> str:
    """Name of the metric that is a task's score: as configured, else the first in the task's file."""
    name = str(task.get("task"))
    file = data_dir("tasks") / name / f"{name}.yaml"
    first = re.search(r"^metric_list:\s*- metric: (\S+)", file.read_text(), re.MULTILINE) if file.is_file() else None
    return str(task.get("metric") or (first[1] if first else "score"))


def _made(run: RunData, base: Parent, experts: tuple[Parent, ...]) -> list[tuple[str, str]]:
    environment, search = run.environment, run.config.get("search") or {}
    versions = environment.get("versions") or {}
    rows = [
        ("evomerge", str(versions.get("evomerge") or "unknown")),
        ("command", f"`{_command(run, base, experts)}`"),
        ("budget", f"{run.budget} candidates"),
        ("sampler", f"{search.get('sampler')}, seed {search.get('seed')}"),
    ]
    seconds = sum((environment.get("seconds") or {}).values())
    if seconds:
        machine = ", ".join(str(environment[key]) for key in ("processor", "system") if key in environment)
        rows.append(("time", f"{seconds / 60:.0f} min" + (f" on {machine}" if machine else "")))
    others = ", ".join(f"{name} {number}" for name, number in versions.items() if name != "evomerge" and number)
    return rows + ([("libraries", others)] if others else [])


def _command(run: RunData, base: Parent, experts: tuple[Parent, ...]) -> str:
    """The command with the most important settings; ``config.yaml`` of the run has all."""
    search, tasks = run.config.get("search") or {}, run.config.get("tasks") or {}
    arguments = [setting("name", run.name), setting("models.base", base.public_name)]
    arguments += [setting(f"models.experts.{parent.role}", parent.public_name) for parent in experts]
    arguments.append(listed("tasks", list(tasks)))
    for name, task in tasks.items():
        # the file's name alone: folders of this machine mean nothing elsewhere
        public = {**task, "data": Path(task["data"]).name} if task.get("data") else task
        arguments += task_settings(name, public)
    arguments.append(setting("search", search.get("sampler")))
    arguments += [setting(f"search.{key}", search[key]) for key in ("budget", "seed") if key in search]
    groups = (run.config.get("space") or {}).get("layer_groups")
    arguments += [] if groups is None else [setting("space.layer_groups", groups)]
    return evomerge(*arguments)
