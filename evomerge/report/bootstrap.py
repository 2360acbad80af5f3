"""Paired bootstrap over items: intervals of a smallest retention and of the difference between two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evomerge.search.pareto import smallest_retention

DRAWS = 10_000


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval."""

    mean: float
    low: float
    high: float


def resampled_means(
    outcomes: Mapping[str, NDArray[np.float64]], draws: int = DRAWS, seed: int = 0
) -> NDArray[np.float64]:
    """Mean outcomes under resampled items.

    Args:
        outcomes: by task, shape (K, n): K models on the same n items in the same order. All models see the same draw,
            so that differences between them are paired.
        draws: number of resamples, each n of n items with replacement.
        seed: seed of the draws.

    Returns:
        shape (draws, K, M) for M tasks.
    """
    means = []
    for place, values in enumerate(outcomes.values()):
        n = values.shape[1]
        # One stream of random numbers per task: a task's draws do not depend on the other tasks' items.
        counts = np.random.default_rng([seed, place]).multinomial(n, np.full(n, 1.0 / n), size=draws)
        means.append(counts.astype(np.float64) @ values.T / n)
    return np.stack(means, axis=-1)


def resampled_retention(means: NDArray[np.float64], task_experts: Sequence[int | None]) -> NDArray[np.float64]:
    """Smallest retention, shape (draws, K), from means (draws, K, M).

    Args:
        means: see :func:`resampled_means`.
        task_experts: for each task the row (0 .. K-1) of its expert; None: the score is taken as it is.
    """
    found = np.empty(means.shape[:2])
    for place, own in enumerate(means):
        bounds = [np.nan if row is None else own[row, task] for task, row in enumerate(task_experts)]
        found[place] = smallest_retention(own, bounds)
    return found


def interval(mean: float, draws: NDArray[np.float64]) -> Interval:
    """The central 95 % of ``draws`` around ``mean`` (percentile bootstrap; Efron 1979, doi:10.1214/aos/1176344552)."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(mean, min(mean, float(low)), max(mean, float(high)))
