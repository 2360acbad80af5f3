"""Compare several runs of the same tasks (other seeds, samplers, spaces) in ``comparison.html``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evomerge.errors import UserError
from evomerge.files.small_files import write_text
from evomerge.report.bootstrap import Interval, interval, resampled_means, resampled_retention
from evomerge.report.commands import of_candidate, rebuild
from evomerge.report.html import render
from evomerge.report.results import Row, results
from evomerge.report.run_data import RunData
from evomerge.report.shown_data import Point, flat, history, points

MOST = 8  # runs; more shapes and colours are hard to tell apart
_NO_SETTING = ("name", "outputs", "job", "run", "out", "seed")  # settings of other jobs, like the top-level seed


def write_comparison(folders: Sequence[Path | str], out: Path | str = ".") -> Path:
    """Write the page of :func:`comparison`, in one step.

    Args:
        folders: 2 to 8 run folders, finished or not.
        out: a file ending in ``.html``, or the folder to get ``comparison.html``.

    Returns:
        The path of the page.

    Raises:
        UserError: too few or too many runs, a run named twice, runs that were scored on other items, or a page that
            cannot be written or would replace another file.
    """
    page = Path(out).expanduser()
    page = page if page.suffix == ".html" else page / "comparison.html"
    text = render(comparison(open_runs(folders)), "comparison")
    head = text[: text.index("sha256-")]  # every comparison page begins like this, and no other file
    if page.is_file() and not page.read_text(encoding="utf-8", errors="replace").startswith(head):
        raise UserError(f"{page} is there and no page of evomerge: give another name (out=)")
    write_text(page, text)
    return page


def open_runs(folders: Sequence[Path | str]) -> list[RunData]:
    """The runs of a comparison, in the order given.

    Raises:
        UserError: see :func:`write_comparison`.
    """
    if not 2 <= len(folders) <= MOST:
        raise UserError(f"a comparison takes 2 to {MOST} runs, got {len(folders)}: run=[outputs/A,outputs/B]")
    runs = [RunData(folder) for folder in folders]
    seen: dict[Path, RunData] = {}
    for run in runs:
        if run.folder.resolve() in seen:
            raise UserError(f"run= names {run.folder} twice: name each run once")
        seen[run.folder.resolve()] = run
    for run in runs[1:]:
        _same_tasks(runs[0], run)
    return runs


def _same_tasks(first: RunData, other: RunData) -> None:
    """Refuse runs whose scores are of other items or other rules."""
    cure = "compare runs of the same tasks"
    if set(first.tasks) != set(other.tasks):
        raise UserError(
            f"{first.folder} searched for {', '.join(first.tasks)}, {other.folder} for {', '.join(other.tasks)}: {cure}"
        )
    for task in first.tasks:
        own, its = first.config["tasks"][task], other.config["tasks"][task]
        for key in own:
            # older versions did not know every setting; then the items are compared
            if key in its and own[key] != its[key]:
                raise UserError(
                    f"tasks.{task}.{key} is {own[key]} in {first.folder} and {its[key]} in {other.folder}: {cure}"
                )
    for split in ("search", "test"):
        items, others = _items(first, split), _items(other, split)
        for task in items.keys() & others.keys():
            if items[task] != others[task]:
                raise UserError(
                    f"the {split} items of task {task} are others in {first.folder} than in {other.folder}: {cure}"
                )


def _items(run: RunData, split: str) -> dict[str, set[str]]:
    """Names of the scored items by task."""
    trials = run.scored if split == "search" else [] if run.winner is None else [run.winner]
    found = {task: items for trial in trials[:1] for task, items in run.evaluation(trial, split).items()}
    return {task: {item.item for item in found[task]} for task in run.tasks if task in found}


def _settings(run: RunData) -> dict[str, str]:
    settings = {key: value for key, value in flat(run.config) if key.split(".")[0] not in _NO_SETTING}
    return {key: "default" if value is None else str(value) for key, value in settings.items()}


def comparison(runs: Sequence[RunData]) -> dict[str, Any]:
    """All data of the comparison page, as plain values."""
    names = _names(runs)
    settings = [_settings(run) for run in runs]
    shared = [key for key in settings[0] if all(key in own for own in settings)]  # versions differ in their settings
    differs = [key for key in shared if len({own[key] for own in settings}) > 1]
    found = [_kept(run, runs[0].tasks) for run in runs]
    best = max((n for n, own in enumerate(found) if own is not None), key=lambda n: _mean(found[n]), default=None)
    entries, front = [], []
    for n, run in enumerate(runs):
        row = results(run).winner
        entries.append(
            {
                "name": names[n],
                "experts": [expert.name for expert in run.records[0].recipe.experts] if run.records else [],
                "settings": [settings[n][key] for key in differs],
                "winner": None if row is None else _winner(row),
                "best": n == best,
                "behind": None if best is None or n == best else _behind(found[n], found[best]),
                "history": [asdict(step) for step in history(run)],
                "candidates": len(run.records),
                "failed": len(run.failures),
                "seconds": sum(run.environment.get("seconds", {}).values()),
            }
        )
        front += [_drawn(point, run, n) for point in points(run) if point.on_front or point.winner]
    sentence, detail = headline(entries)
    return {
        "name": f"{len(runs)} runs",
        "headline": sentence,
        "detail": detail,
        "tasks": list(runs[0].tasks),
        "differs": [key.removeprefix("search.").removeprefix("space.") for key in differs],
        "runs": entries,
        "points": front,
        "rebuild": rebuild(*runs),
    }


def _names(runs: Sequence[RunData]) -> list[str]:
    """The runs' names; runs of one name are told apart by the ends of their folders."""
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return names
    folders = [run.folder.resolve() for run in runs]
    parent = os.path.commonpath([folder.parent for folder in folders])
    return [str(folder.relative_to(parent)) for folder in folders]


def _drawn(point: Point, run: RunData, place: int) -> dict[str, Any]:
    """The point as the page draws it, with the command that makes its model. An interrupted run has no recipe files
    yet."""
    recipe = point.recipe if point.recipe is not None and (run.folder / point.recipe).is_file() else None
    return {**asdict(point), "run": place, "recipe": recipe, "command": of_candidate(run, point.number, recipe)}


def _winner(row: Row) -> dict[str, Any]:
    return {
        "number": row.number,
        "scores": {task: asdict(score) for task, score in row.scores.items()},
        "retention": None if row.retention is None else asdict(row.retention),
    }


def _kept(run: RunData, tasks: Sequence[str]) -> tuple[float, NDArray[np.float64]] | None:
    """The winner's smallest retention on the test items, and its resamples (draws,); None while it is not known.

    Tasks and items have one order for all runs, so that runs see the same draws and their differences are paired.
    """
    if run.winner is None:
        return None
    models = [run.winner]
    task_experts: list[int | None] = []
    for task in tasks:
        expert = run.expert_of(task)
        anchor = None if expert is None else run.anchor(f"expert:{expert}")
        if expert is not None and anchor is None:
            return None
        task_experts.append(None if anchor is None else len(models))
        models += [] if anchor is None else [anchor]
    outcomes = {}
    for task in tasks:
        answers = [{i.item: i.outcome for i in run.evaluation(model, "test").get(task, ())} for model in models]
        order = sorted(answers[0])
        if not order or any(answer.keys() != answers[0].keys() for answer in answers):
            return None
        outcomes[task] = np.array([[answer[item] for item in order] for answer in answers], dtype=np.float64)
    measured = np.stack([values.mean(axis=1) for values in outcomes.values()], axis=-1)[None]
    draws = resampled_retention(resampled_means(outcomes), task_experts)[:, 0]
    return float(resampled_retention(measured, task_experts)[0, 0]), draws


def _mean(found: tuple[float, NDArray[np.float64]] | None) -> float:
    return -np.inf if found is None else found[0]


def _behind(
    own: tuple[float, NDArray[np.float64]] | None, best: tuple[float, NDArray[np.float64]] | None
) -> dict[str, float] | None:
    """Difference of smallest retentions, on the same resampled items."""
    if own is None or best is None:
        return None
    gap: Interval = interval(own[0] - best[0], own[1] - best[1])
    return asdict(gap)


def headline(entries: Sequence[dict[str, Any]]) -> tuple[str, str]:
    """The result in one sentence, and the evidence for it."""
    finished = [entry for entry in entries if entry["winner"] is not None]
    best = next((entry for entry in entries if entry["best"]), None)
    others = [entry for entry in entries if entry["behind"] is not None]
    if best is None or not others:
        return "Not enough winners to compare yet", f"{len(finished)} of {len(entries)} runs have delivered a winner."
    second = max(others, key=lambda entry: float(entry["behind"]["mean"]))
    gap = second["behind"]
    ahead = Interval(-gap["mean"] or 0.0, -gap["high"] or 0.0, -gap["low"] or 0.0)
    detail = (
        f"The winner of {best['name']} keeps {100 * best['winner']['retention']['mean']:.1f} % of its weakest skill on"
        f" the test items. Against the next, {second['name']}: {100 * ahead.mean:+.1f} points"
        f" (95 % interval {100 * ahead.low:+.1f} to {100 * ahead.high:+.1f}, same items)."
    )
    if all(entry["behind"]["high"] < 0 for entry in others):  # a run that is further behind may be behind less surely
        waiting = [entry["name"] for entry in entries if entry["winner"] is None]
        so_far = f" so far, without {', '.join(waiting)}" if waiting else ""
        return f"{best['name']} has the best winner{so_far}", detail
    if ahead.mean == 0:
        return f"{best['name']} and {second['name']} are equally good", detail
    return f"{best['name']} leads, not surely", detail
