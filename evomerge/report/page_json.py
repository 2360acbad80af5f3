"""Build the JSON object that the page's script reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from evomerge.evaluation.scorers.base import TRUSTED
from evomerge.report.bootstrap import Interval
from evomerge.report.commands import commands, of_candidate, rebuild
from evomerge.report.importance import importances
from evomerge.report.results import WINNER, Results, Row, results
from evomerge.report.run_data import RunData
from evomerge.report.shown_data import flat, history, points, samples, settings, weights
from evomerge.report.verdict import verdict
from evomerge.types import Score


def payload(run: RunData, questions: Mapping[tuple[str, str], str] | None = None) -> dict[str, Any]:
    """All data of a run's page. ``questions``: prompts of test items by (task, item)."""
    table = results(run)
    return {
        "name": run.name,
        "rebuild": rebuild(run),
        "verdict": asdict(verdict(run, table)),
        "facts": _facts(run, table),
        "commands": commands(run),
        "tasks": list(table.tasks),
        "side_tasks": list(table.side_tasks),
        "rows": [_row(row) for row in table.rows],
        "delivered": _delivered(run),
        "points": [asdict(p) | {"command": of_candidate(run, p.number, p.recipe)} for p in points(run)],
        "experts": [expert.name for expert in run.records[0].recipe.experts] if run.records else list(run.experts),
        "history": [asdict(step) for step in history(run)],
        "anchors": sum(trial.label is not None for trial in run.records),
        "weights": _weights(run),
        "importances": _importances(run),
        "samples": [asdict(sample) for sample in samples(run, questions)],
        "failures": [{"number": t.number, "method": t.recipe.method, "error": t.error} for t in run.failures],
        "seconds": run.environment.get("seconds", {}),
        "work": _work(run),
        "environment": _environment(run),
    }


def _facts(run: RunData, table: Results) -> list[dict[str, str]]:
    """The few numbers of the first screen."""
    facts = []
    winner, comparison = table.winner, table.comparison
    if winner is not None and winner.retention is not None:
        facts.append(_fact(_percent(winner.retention), "smallest retention, 95 % interval " + _range(winner.retention)))
    if comparison is not None:
        gap = comparison.difference
        words = f"against {comparison.other}, the best without tuning, 95 % interval {_range(gap, '+.1f')}"
        facts.append({**_fact(f"{100 * gap.mean:+.1f} points", words), "better": "yes" if gap.low > 0 else ""})
        facts.append(_fact(f"{100 * comparison.probability:.1f} %", "of resamples of the items have it ahead"))
    failed = f", {len(run.failures)} failed" if run.failures else ""
    stopped = f", {len(run.stopped)} stopped early" if run.stopped else ""
    facts.append(_fact(str(len(run.records)), f"candidates tried{failed}{stopped}"))
    seconds = sum(run.environment.get("seconds", {}).values())
    if seconds:
        facts.append(_fact(f"{seconds / 60:.1f} min", "from start to finish"))
    return facts


def _fact(value: str, words: str) -> dict[str, str]:
    return {"value": value, "words": words}


def _percent(value: Score | Interval) -> str:
    return f"{100 * value.mean:.1f} %"


def _range(value: Interval, form: str = ".1f") -> str:
    return f"{100 * value.low:{form}} to {100 * value.high:{form}}"


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.shown,
        "winner": row.label == WINNER,
        "scores": {task: asdict(score) for task, score in row.scores.items()},
        "retention": None if row.retention is None else asdict(row.retention),
    }


def _delivered(run: RunData) -> str:
    """Scores of the exported files, in words."""
    said = []
    for kind, scores in run.delivered.items():
        listed = ", ".join(f"{task} {100 * score.mean:.1f} %" for task, score in scores.items())
        said.append(f"best/{kind}: {listed}")
    if not said:
        return ""
    return "The exported files, loaded and scored again: " + "; ".join(said) + "."


def _weights(run: RunData) -> dict[str, Any] | None:
    if run.winner is None:
        return None
    recipe = run.winner.recipe
    return {
        **asdict(weights(recipe)),
        "method": recipe.method,
        "number": run.winner.number,
        "settings": [[name, value] for name, value in settings(recipe).items()],
    }


def _importances(run: RunData) -> dict[str, Any] | None:
    candidates, found = importances(run)
    return {"candidates": candidates, "entries": [asdict(entry) for entry in found]} if found else None


def _work(run: RunData) -> list[list[str]]:
    """Work of the search: candidates, answers, verdicts that an answer could forge, seconds of evaluation."""
    rows = [["candidates", str(len(run.records))]]
    trusted = 0
    if run.failures:
        rows.append(["of these failed", str(len(run.failures))])
    if run.stopped:
        rows.append(["of these stopped early, surely behind", str(len(run.stopped))])
    for split in ("search", "selection", "test"):
        answers = [i for trial in run.records for items in run.evaluation(trial, split).values() for i in items]
        trusted += sum(item.metrics.get(TRUSTED, 0.0) > 0 for item in answers)
        if answers:
            rows.append([f"answers on the {split} items", f"{len(answers):,}".replace(",", " ")])
    if trusted:
        told = "of these judged in one process with their tests, which trusts them"
        rows.append([told, f"{trusted:,}".replace(",", " ")])
    seconds = sum(trial.seconds for trial in run.records)
    if seconds:
        rows.append(["evaluation in the search, all workers together", f"{seconds / 60:.1f} min"])
    return rows


def _environment(run: RunData) -> list[list[str]]:
    """Date, machine and versions; names without their group."""
    known = {key: value for key, value in run.environment.items() if key != "seconds"}
    rows = [[name.rpartition(".")[2].replace("_gib", ", GiB"), str(value)] for name, value in flat(known)]
    return [[name, value[:16].replace("T", " ")] if name == "date" else [name, value] for name, value in rows]
