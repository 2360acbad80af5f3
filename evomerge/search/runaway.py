"""Limit the tokens of a candidate whose answers never end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from evomerge.types import Trial

_EARLIEST = 5  # finished candidates: among the first are the anchors, of which the base itself may ramble
_LEAST = 32.0  # tokens an answer: short ones cost little, and a right answer may have more words than most


def allowances(trials: Sequence[Trial], factor: float | None) -> Mapping[str, float]:
    """Tokens that a further candidate's answers to each task may take, as a mean over the task's items.

    ``factor`` times the median of the finished candidates. Answers to all of a task's items share them, so that single
    long answers are left alone: a candidate is cut off only where nearly all that it says is too long.

    Args:
        trials: finished; those that failed do not count.
        factor: None gives no allowance to any task, which means no bound.
    """
    means: dict[str, list[float]] = {}
    for trial in trials:
        if factor is not None and trial.error is None:
            for task, mean in _means(trial).items():
                means.setdefault(task, []).append(mean)
    return {
        task: max(_LEAST, (factor or 0.0) * median(known)) for task, known in means.items() if len(known) >= _EARLIEST
    }


def cut_off(trial: Trial) -> int:
    """How many of the trial's items have an answer that was cut off."""
    return sum(item.metrics.get("cut", 0.0) > 0 for item in trial.items)


def _means(trial: Trial) -> dict[str, float]:
    """Tokens an item, of the tasks whose answers are generated."""
    tokens: dict[str, list[float]] = {}
    for item in trial.items:
        if "tokens" in item.metrics:
            tokens.setdefault(item.task, []).append(item.metrics["tokens"])
    return {task: sum(counts) / len(counts) for task, counts in tokens.items()}
