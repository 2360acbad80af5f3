"""Limit the tokens of a candidate whose answers never end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from evomerge.types import Trial

_EARLIEST = 5  # finished candidates that the median needs: the first are anchors, and the base itself may ramble
# smallest allowance, tokens per answer: short answers cost little, and a right answer may be longer than most
_LEAST = 32.0


def allowances(trials: Sequence[Trial], factor: float | None) -> Mapping[str, float]:
    """Tokens that the next candidate's answers to each task may take, as a mean over the task's items.

    They are ``factor`` times the median of the finished candidates. All answers to a task draw on one allowance, so a
    single
    long answer is no problem: a candidate is cut off only if nearly all of its answers are too long.

    Args:
        trials: finished trials; failed ones do not count.
        factor: None sets no bound.
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
    """Mean tokens per item, for tasks whose answers are generated."""
    tokens: dict[str, list[float]] = {}
    for item in trial.items:
        if "tokens" in item.metrics:
            tokens.setdefault(item.task, []).append(item.metrics["tokens"])
    return {task: sum(counts) / len(counts) for task, counts in tokens.items()}
