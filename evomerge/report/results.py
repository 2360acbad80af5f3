"""Results table: base, experts, anchors and winner on the test items, and how far the winner leads the best untuned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evomerge.report.bootstrap import Interval, interval, resampled_means, resampled_retention
from evomerge.report.paired import aligned
from evomerge.report.run_data import RunData
from evomerge.search.choose import best_untuned
from evomerge.types import ItemScore, Score, scores_by_task

WINNER = "winner"
CONTROL = "random LoRA"


@dataclass(frozen=True)
class Row:
    """One model on the test items. ``number`` is its trial's, None for the control. ``retention`` is None unless all
    searched tasks were scored. ``untuned``: it is the best untuned merge, with which the winner is compared."""

    name: str
    label: str
    number: int | None
    scores: dict[str, Score]
    retention: Interval | None
    untuned: bool = False

    @property
    def shown(self) -> str:
        """Name in a table for people."""
        return f"{self.name} (best untuned)" if self.untuned else self.name


@dataclass(frozen=True)
class Comparison:
    """The winner against the best untuned merge; where that is the winner itself, there is no comparison.

    Attributes:
        other: name of that merge.
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
            values: dict[str, str | int | float | None] = {"model": row.name, "number": row.number}
            for task in (*self.tasks, *self.side_tasks):
                if task in row.scores:
                    score = row.scores[task]
                    values |= {task: score.mean, f"{task}_low": score.low, f"{task}_high": score.high}
                    values |= {f"{task}_items": score.items}
            if row.retention is not None:
                kept = row.retention
                values |= {"min_retention": kept.mean, "min_retention_low": kept.low, "min_retention_high": kept.high}
            found.append(values)
        table = pd.DataFrame(found)
        return table.astype({"number": "Int64"}) if found else table


def results(run: RunData) -> Results:
    """The table of a run; it has no rows while nothing was scored on the test items."""
    models = list(_models(run))
    items = [own for _, _, _, own in models]
    complete = [place for place, own in enumerate(items) if set(run.tasks) <= own.keys()]
    draws, kept = _retention(run, [models[p][1] for p in complete], [items[p] for p in complete])
    rows, untuned = [], best_untuned(run.records, run.objectives)
    for place, (name, label, number, _) in enumerate(models):
        scores = scores_by_task([item for own in items[place].values() for item in own])
        own_interval = None
        if place in complete and draws is not None:
            column = complete.index(place)
            own_interval = interval(float(kept[column]), draws[:, column])
        is_untuned = untuned is not None and number == untuned.number and label != WINNER
        rows.append(Row(name, label, number, scores, own_interval, is_untuned))
    comparison = None if draws is None else _compare([rows[p] for p in complete], kept, draws)
    side = tuple(task for task in run.side_tasks if any(task in row.scores for row in rows))
    return Results(run.tasks, side, tuple(rows), comparison)


def _models(run: RunData) -> Iterator[tuple[str, str, int | None, dict[str, tuple[ItemScore, ...]]]]:
    """Name, label, number and items by task of what was scored on the test items: base, experts, other anchors, the
    control, winner."""
    anchors = [t for t in run.scored if t.label is not None and run.evaluation(t, "test")]
    order = {"base": 0, **{f"expert:{name}": 1 for name in run.experts}, "uniform": 2}
    for trial in sorted(anchors, key=lambda trial: (order.get(str(trial.label), 3), trial.number)):
        yield display_name(str(trial.label)), str(trial.label), trial.number, run.evaluation(trial, "test")
    for expert in run.experts:  # those that the space does not hold
        if run.anchor(f"expert:{expert}") is None and (own := run.alone(expert, "test")):
            yield display_name(f"expert:{expert}"), f"expert:{expert}", None, own
    if run.control:
        yield CONTROL, CONTROL, None, run.control
    if run.winner is not None and (own := run.evaluation(run.winner, "test")):
        yield "winner", WINNER, run.winner.number, own


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
    if label == "learned":
        return "learned weights"
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
    """Compare the winner with the best untuned merge, which the search items chose as they chose the winner.

    The row that happens to be best on the test items would be the wrong one: of a dozen merges the best on some items
    owes a part of its lead to these items."""
    winner = next((place for place, row in enumerate(rows) if row.label == WINNER), None)
    other = next((place for place, row in enumerate(rows) if row.untuned), None)
    if winner is None or other is None or rows[other].number == rows[winner].number:
        return None
    gained = draws[:, winner] - draws[:, other]
    difference = interval(float(kept[winner] - kept[other]), gained)
    return Comparison(display_name(rows[other].label), difference, float((gained > 0).mean()))
