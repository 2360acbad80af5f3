"""Tables of a run's trials and items (pandas)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from evomerge.report.run_data import RunData
from evomerge.search import choose
from evomerge.search.pareto import hypervolume
from evomerge.types import Score, Trial


def trials_frame(run: RunData) -> pd.DataFrame:
    """One row per candidate: scores on the search items, smallest retention, place on the front, search parameters.

    ``TASK_low`` and ``TASK_high`` bound a score's 95 % interval. A candidate that racing stopped has scores of part of
    the items: ``stopped`` marks it, and it has no smallest retention.
    """
    front = {trial.number for trial in run.front_trials}
    winner = None if run.winner is None else run.winner.number
    return pd.DataFrame(
        [
            {
                "number": trial.number,
                "label": trial.label,
                "method": trial.recipe.method,
                **_score_columns(run, trial),
                "min_retention": run.min_retention(trial),
                "on_front": trial.number in front,
                "winner": trial.number == winner,
                "seconds": trial.seconds,
                "tokens": sum(item.metrics.get("tokens", 0.0) for item in trial.items),
                "cut": sum(item.metrics.get("cut", 0.0) > 0 for item in trial.items),
                "isolation": trial.isolation,
                "stopped": trial.stopped,
                "error": trial.error,
                "fingerprint": trial.recipe.fingerprint,
                **{name: value for name, value in trial.params.items() if name != "method"},
            }
            for trial in run.records
        ]
    )


def _score_columns(run: RunData, trial: Trial) -> dict[str, float]:
    nothing = Score(math.nan, math.nan, math.nan, 0)
    columns: dict[str, float] = {}
    for task in run.tasks:
        score = trial.scores.get(task, nothing)
        columns |= {task: score.mean, f"{task}_low": score.low, f"{task}_high": score.high}
    return columns


def items_frame(run: RunData) -> pd.DataFrame:
    """One row per candidate, split and item, with outcome, answer and the task's further metrics."""
    return pd.DataFrame(list(_item_rows(run)))


def _item_rows(run: RunData) -> Iterator[dict[str, Any]]:
    for trial in run.records:
        for split in ("search", "selection", "test"):
            for items in run.evaluation(trial, split).values():
                for item in items:
                    yield {
                        "number": trial.number,
                        "split": split,
                        "task": item.task,
                        "item": item.item,
                        "outcome": item.outcome,
                        "answer": item.answer,
                        **item.metrics,
                    }


def front_frame(trials: pd.DataFrame) -> pd.DataFrame:
    """The rows of :func:`trials_frame` on the front, best smallest retention first."""
    if trials.empty:
        return trials
    rows = trials[trials["on_front"]]
    return rows.sort_values(["min_retention", "number"], ascending=[False, True]).reset_index(drop=True)


def hypervolume_frame(run: RunData) -> pd.DataFrame:
    """Hypervolume after each scored trial: columns ``number``, ``trials`` (finished so far) and ``hypervolume``.

    Of the scores on the search items, in [0, 1]: 1 would be a model that solves every item of every task.
    """
    losses = 1.0 - choose.score_matrix([trial.scores for trial in run.scored], run.objectives)
    volumes = [hypervolume(losses[: n + 1], np.ones(losses.shape[1])) for n in range(len(losses))]
    done = {trial.number: n + 1 for n, trial in enumerate(run.records)}
    numbers = [trial.number for trial in run.scored]
    return pd.DataFrame({"number": numbers, "trials": [done[n] for n in numbers], "hypervolume": volumes})
