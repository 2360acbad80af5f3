"""Choose the finalists that get the selection items, and the winner among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evomerge.search.pareto import nondominated, retentions
from evomerge.types import Objective, Score, Trial

#: Labels of anchors that were fitted to the search items.
TUNED = ("learned",)


def with_references(objectives: Sequence[Objective], trials: Sequence[Trial]) -> tuple[Objective, ...]:
    """Fill in missing references: the scores of the anchors ``expert:NAME`` (the expert alone), where they are
    finished."""
    alone = {t.label: t.scores for t in trials if t.label is not None and t.error is None}
    filled = []
    for objective in objectives:
        score = alone.get(f"expert:{objective.expert}", {}).get(objective.task)
        if objective.reference is None and score is not None:
            objective = replace(objective, reference=score.mean)
        filled.append(objective)
    return tuple(filled)


def references(objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """References as an array (M,), NaN where there is none."""
    return np.array([math.nan if o.reference is None else o.reference for o in objectives])


def score_matrix(scores: Sequence[Mapping[str, Score]], objectives: Sequence[Objective]) -> NDArray[np.float64]:
    """Mean scores, shape (N, M)."""
    rows = [[own[o.task].mean for o in objectives] for own in scores]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(objectives))


def choose(scores: Sequence[Mapping[str, Score]], objectives: Sequence[Objective]) -> int:
    """Index of the winner: the one with the largest smallest retention, among equals the largest mean, then the
    first."""
    assert scores, "nothing to choose from"
    kept = retentions(score_matrix(scores, objectives), references(objectives))
    return max(range(len(kept)), key=lambda i: (round(kept[i].min(), 9), round(kept[i].mean(), 9), -i))


def scored(trials: Sequence[Trial]) -> list[Trial]:
    """Trials that were scored on all items: they neither failed nor were stopped."""
    return [trial for trial in trials if trial.error is None and not trial.stopped]


def front(trials: Sequence[Trial], objectives: Sequence[Objective]) -> list[Trial]:
    """The non-dominated trials by their scores on the search items, in order of number."""
    own = scored(trials)
    mask = nondominated(1.0 - score_matrix([t.scores for t in own], objectives))
    return [trial for trial, keep in zip(own, mask, strict=True) if keep]


def unsolved_task(trial: Trial, objectives: Sequence[Objective]) -> str | None:
    """A task of which the expert alone, if ``trial`` is it, solves no item; then retention is the raw score."""
    if trial.error is not None or trial.label is None:
        return None
    own = (o.task for o in objectives if trial.label == f"expert:{o.expert}")
    return next((task for task in own if task in trial.scores and trial.scores[task].mean == 0.0), None)


def best_untuned(trials: Sequence[Trial], objectives: Sequence[Objective]) -> Trial | None:
    """The anchor that a person would take who tries the usual merges and tunes nothing: the largest smallest retention
    on the search items. None while no anchor is scored.

    It is chosen without the test items, as the winner is, so that the comparison of the two on the test items is fair.
    """
    own = [trial for trial in scored(trials) if trial.label is not None and trial.label not in TUNED]
    known = with_references(objectives, trials)
    return own[choose([trial.scores for trial in own], known)] if own else None


def finalists(trials: Sequence[Trial], objectives: Sequence[Objective], count: int) -> list[Trial]:
    """The ``count`` trials that get the selection items: largest smallest retention on the search items first.

    More than the front is taken. The search items overrate the trials that are best on them, so the true winner is
    often just behind the front.
    """
    own = scored(trials)
    kept = retentions(score_matrix([t.scores for t in own], objectives), references(objectives))
    order = sorted(range(len(own)), key=lambda i: (-kept[i].min(), -kept[i].mean(), own[i].number))
    return [own[i] for i in order[:count]]
