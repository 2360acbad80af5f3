"""Compute where a search stands: best scores, hypervolume, time left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evomerge.search.choose import references, score_matrix, scored, with_references
from evomerge.search.pareto import hypervolume, smallest_retention
from evomerge.types import Objective, Trial


@dataclass(frozen=True)
class Best:
    """The best trial by one measure."""

    name: str
    value: float
    trial: Trial


@dataclass(frozen=True)
class Progress:
    """``hypervolume`` of the scores above 0, at most 1; ``bests``: the best trial per task, then by smallest
    retention; both of the trials that were scored on all items."""

    finished: int
    failed: int
    stopped: int
    hypervolume: float
    bests: tuple[Best, ...]


def progress(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Progress:
    """The progress of a search with these finished trials."""
    own = scored(trials)
    known = with_references(objectives, trials)
    scores = score_matrix([trial.scores for trial in own], known)
    bests = []
    if own:
        kept = smallest_retention(scores, references(known))
        columns = [*((o.task, scores[:, i]) for i, o in enumerate(known)), ("min-retention", kept)]
        for name, values in columns:
            best = int(np.argmax(values))
            bests.append(Best(name, float(values[best]), own[best]))
    volume = hypervolume(1.0 - scores, np.ones(len(objectives)))
    failed = sum(trial.error is not None for trial in trials)
    return Progress(len(trials), failed, sum(trial.stopped for trial in trials), volume, tuple(bests))


def trial_retention(trial: Trial, trials: Sequence[Trial], objectives: Sequence[Objective]) -> float:
    """Smallest retention of one scored trial, with the references known so far."""
    known = with_references(objectives, trials)
    return float(smallest_retention(score_matrix([trial.scores], known), references(known))[0])


def clock(seconds: float) -> str:
    """A duration as people write it.

    >>> clock(14.2), clock(370), clock(7500)
    ('14 s', '6 min', '2 h 05')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d}"
