"""Results table: base, experts, anchors and winner on the test items, and the winner's lead with its interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evomerge.report.bootstrap import Interval, interval, resampled_means, resampled_retention
from evomerge.report.paired import aligned
from evomerge.report.run_data import RunData
from evomerge.types import ItemScore, Score, Trial, scores_by_task

WINNER = "winner"


@dataclass(frozen=True)
class Row:
    """One model on the test items. ``retention`` is None unless all searched tasks were scored."""

    name: str
    label: str
    number: int
    scores: dict[str, Score]
    retention: Interval | None


@dataclass(frozen=True)
class Comparison:
    """The winner against the best other row.

    Attributes:
        other: name of that row.
        difference: of their smallest retentions.
        probability: share of resamples in which the winner has the larger one."""

    other: str
    difference: Interval
    probability: float


@dataclass(frozen=True)
class Results:
    """The results table: ``tasks`` were searched for, ``side_tasks`` are only reported."""

    tasks: tuple[str, ...]
    side_tasks: tuple[str, ...]
    rows: tuple[Row, ...]
    comparison: Comparison | None

    @property
    def winner(self) -> Row | None:
        return next((row for row in self.rows if row.label == WINNER), None)

    def frame(self) -> pd.DataFrame:
        """One row per model: mean, low and high of each task and of the smallest retention; numbers in [0, 1]."""
        found = []
        for row in self.rows:
            values: dict[str, str | int | float] = {"model": row.name, "number": row.number}
            for task in (*self.tasks, *self.side_tasks):
                if task in row.scores:
                    score = row.scores[task]
                    values |= {task: score.mean, f"{task}_low": score.low, f"{task}_high": score.high}
                    values |= {f"{task}_items": score.items}
            if row.retention is not None:
                kept = row.retention
                values |= {"min_retention": kept.mean, "min_retention_low": kept.low, "min_retention_high": kept.high}
            found.append(values)
        return pd.DataFrame(found)


def results(run: RunData) -> Results:
    """The table of a run; it has no rows while nothing was scored on the test items."""
    models = list(_models(run))
    items = [run.evaluation(trial, "test") for _, _, trial in models]
    complete = [place for place, own in enumerate(items) if set(run.tasks) <= own.keys()]
    draws, kept = _retention(run, [models[p][1] for p in complete], [items[p] for p in complete])
    rows = []
    for place, (name, label, trial) in enumerate(models):
        scores = scores_by_task([item for own in items[place].values() for item in own])
        own_interval = None
        if place in complete and draws is not None:
            column = complete.index(place)
            own_interval = interval(float(kept[column]), draws[:, column])
        rows.append(Row(name, label, trial.number, scores, own_interval))
    comparison = None if draws is None else _compare([rows[p] for p in complete], kept, draws)
    side = tuple(task for task in run.side_tasks if any(task in row.scores for row in rows))
    return Results(run.tasks, side, tuple(rows), comparison)


def _models(run: RunData) -> Iterator[tuple[str, str, Trial]]:
    """Name, label and trial of what was scored on the test items: base, experts, other anchors, winner."""
    anchors = [t for t in run.scored if t.label is not None and run.evaluation(t, "test")]
    order = {"base": 0, **{f"expert:{name}": 1 for name in run.experts}, "uniform": 2}
    for trial in sorted(anchors, key=lambda trial: (order.get(str(trial.label), 3), trial.number)):
        yield display_name(str(trial.label)), str(trial.label), trial
    if run.winner is not None and run.evaluation(run.winner, "test"):
        yield "winner", WINNER, run.winner


def display_name(label: str) -> str:
    """An anchor's label as a person reads it.

    >>> display_name("expert:sql"), display_name("ties 0.5")
    ('expert sql', 'TIES 0.5')
    >>> display_name("task arithmetic 0.5")
    'task arithmetic 0.5'
    """
    if label.startswith("expert:"):
        return f"expert {label.removeprefix('expert:')}"
    if label == "uniform":
        return "uniform average"
    for plain, written in (("ties", "TIES"), ("dare", "DARE"), ("tsv", "TSV-M")):
        if label.startswith(plain):
            return written + label.removeprefix(plain)
    return label


def _retention(
    run: RunData, labels: list[str], items: list[dict[str, tuple[ItemScore, ...]]]
) -> tuple[NDArray[np.float64] | None, NDArray[np.float64]]:
    """Resampled smallest retentions (draws, K) and the measured ones (K,); None while an expert is not scored."""
    nothing = np.empty(0)
    task_experts: list[int | None] = []
    for task in run.tasks:
        expert = run.expert_of(task)
        if expert is not None and f"expert:{expert}" not in labels:
            return None, nothing
        task_experts.append(None if expert is None else labels.index(f"expert:{expert}"))
    if not items:
        return None, nothing
    outcomes = {task: aligned([own[task] for own in items]) for task in run.tasks}
    if any(values.shape[1] == 0 for values in outcomes.values()):
        return None, nothing
    measured = np.stack([values.mean(axis=1) for values in outcomes.values()], axis=-1)[None]
    kept = resampled_retention(measured, task_experts)[0]
    return resampled_retention(resampled_means(outcomes), task_experts), kept


def _compare(rows: list[Row], kept: NDArray[np.float64], draws: NDArray[np.float64]) -> Comparison | None:
    """Compare the winner with the row of the largest smallest retention, the hardest comparison in the table."""
    winner = next((place for place, row in enumerate(rows) if row.label == WINNER), None)
    if winner is None:
        return None
    others = [place for place, row in enumerate(rows) if row.number != rows[winner].number]
    if not others:
        return None
    best = max(others, key=lambda place: float(kept[place]))
    gained = draws[:, winner] - draws[:, best]
    difference = interval(float(kept[winner] - kept[best]), gained)
    return Comparison(rows[best].name, difference, float((gained > 0).mean()))
