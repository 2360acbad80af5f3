"""Tell the noise of each trial's scores from the outcomes of its items.

The binomial variance p (1 - p) / n is too large for comparing candidates: all answer the same items, and on most items
they agree, so that most of the noise is common to all. A candidate's own noise is half of the variance between two
candidates of equal quality, which their disagreement on the items tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evomerge.types import ItemScore, Trial

_NEIGHBOURS = 6  # trials of nearly the same score that a trial is compared with
_PRIOR, _PRIOR_TRIALS = 0.3, 4  # share of the binomial variance that counts until as many trials have been compared
_LEAST = 0.05


class Outcomes:
    """Outcomes of all finished trials' items as arrays, each trial read once; failed ones have no items.

    Args:
        tasks: names of the M tasks, in the order of the scores.
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self._tasks = tuple(tasks)
        self._columns: dict[str, dict[str, int]] = {task: {} for task in tasks}
        self._rows: dict[int, dict[str, NDArray[np.float64]]] = {}
        self._anchors: set[int] = set()

    def add(self, trials: Sequence[Trial]) -> None:
        """Read the trials that are not known yet."""
        for trial in trials:
            if trial.number not in self._rows:
                self._rows[trial.number] = {task: self.row(task, trial.items) for task in self._tasks}
                if trial.label is not None:
                    self._anchors.add(trial.number)

    def row(self, task: str, items: Sequence[ItemScore]) -> NDArray[np.float64]:
        """Outcomes (n,) of the task's items, NaN where one is not among ``items``."""
        columns = self._columns[task]
        found = {columns.setdefault(i.item, len(columns)): i.outcome for i in items if i.task == task}
        row = np.full(len(columns), np.nan)
        row[list(found)] = list(found.values())
        return row

    def names(self, task: str) -> list[str]:
        """Names of the task's n items, in the order of the columns."""
        return list(self._columns[task])

    def anchors(self) -> set[int]:
        """Numbers of the finished anchors."""
        return self._anchors

    def whole(self) -> list[int]:
        """Numbers of the trials that have run all items, in order."""
        return [
            number
            for number in sorted(self._rows)
            if all(
                len(row) == len(self._columns[task]) > 0 and not np.isnan(row).any()
                for task, row in self._rows[number].items()
            )
        ]

    def matrix(self, task: str, numbers: Sequence[int]) -> NDArray[np.float64]:
        """Outcomes (N, n) of these trials, NaN where an item was not run."""
        matrix = np.full((len(numbers), len(self._columns[task])), np.nan)
        for n, number in enumerate(numbers):
            row = self._rows[number][task]
            matrix[n, : len(row)] = row
        return matrix

    def noise(self) -> Mapping[int, tuple[float, ...]]:
        """Variance of each trial's own noise in each task's score (M,), by trial number."""
        run = {number: any((~np.isnan(row)).any() for row in own.values()) for number, own in self._rows.items()}
        numbers = [number for number in sorted(run) if run[number]]
        own = [score_noise(self.matrix(task, numbers)) for task in self._tasks]
        return {number: tuple(float(column[n]) for column in own) for n, number in enumerate(numbers)}


def score_noise(outcomes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Variance (N,) of the own noise of each trial's mean outcome.

    A trial that was stopped has run part of the items; what the rest would add is unknown, and noise as well.

    Args:
        outcomes: (N, n) in [0, 1], NaN where an item was not run.
    """
    run = ~np.isnan(outcomes)
    count = run.sum(axis=1)
    raised = (np.where(run, outcomes, 0.0).sum(axis=1) + 0.5) / (count + 1.0)
    binomial = raised * (1.0 - raised)
    whole = outcomes[run.all(axis=1)]
    share = own_share(whole)
    return np.asarray(share * binomial * (2.0 / np.maximum(count, 1) - 1.0 / max(outcomes.shape[1], 1)))


def own_share(outcomes: NDArray[np.float64]) -> float:
    """The part of the binomial variance that is a trial's own noise, from trials (N, n) that have run all items.

    >>> rng = np.random.default_rng(0)
    >>> own_share(rng.integers(0, 2, size=(40, 400)).astype(float)) > 0.9  # no agreement but by chance
    True
    >>> own_share(np.repeat(rng.integers(0, 2, size=(1, 400)).astype(float), 40, axis=0))  # all answer alike
    0.05
    """
    trials, items = outcomes.shape
    binomial = 0.0
    own = 0.0
    if trials > 1:
        means = outcomes.mean(axis=1)
        squares = (outcomes**2).sum(axis=1)
        apart = np.maximum(squares[:, None] + squares[None, :] - 2.0 * outcomes @ outcomes.T, 0.0) / items
        differences = np.abs(means[:, None] - means[None, :])
        variance = apart - differences**2
        np.fill_diagonal(differences, np.inf)
        near = np.argsort(differences, axis=1, kind="stable")[:, : min(_NEIGHBOURS, trials - 1)]
        own = float(np.median(np.take_along_axis(variance, near, axis=1), axis=1).sum()) / 2.0
        binomial = float((means * (1.0 - means)).sum())
    prior = _PRIOR_TRIALS * 0.25
    share = (own + _PRIOR * prior) / (binomial + prior)
    return float(min(max(share, _LEAST), 1.0))
