"""Pareto mathematics on arrays of losses, shape (N, M), all minimised."""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray


def nondominated(losses: ArrayLike) -> NDArray[np.bool_]:
    """Mask (N,) of the rows that no other row dominates; equal rows do not dominate each other.

    >>> nondominated([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]).tolist()
    [True, True, False, True]
    """
    points = np.asarray(losses, dtype=np.float64)
    if len(points) == 0:
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(points, keep_weakly=True), dtype=bool)


def hypervolume(losses: ArrayLike, reference: ArrayLike) -> float:
    """Volume dominated by the rows of ``losses`` (N, M) and bounded by ``reference`` (M,); 0 for no rows.

    Rows that are not better than the reference in every objective add nothing (Zitzler and Thiele 1999).

    >>> hypervolume([[0.0, 0.5], [0.5, 0.0]], [1.0, 1.0])
    0.75
    """
    points = np.asarray(losses, dtype=np.float64)
    bound = np.asarray(reference, dtype=np.float64)
    if points.size == 0:
        return 0.0
    points = points[np.all(points < bound, axis=1)]
    if len(points) == 0:
        return 0.0
    if points.shape[1] == 1:  # moocore takes no single objective
        return float(bound[0] - points.min())
    return float(moocore.hypervolume(points, ref=bound))


def retentions(scores: ArrayLike, references: ArrayLike) -> NDArray[np.float64]:
    """Scores divided by the experts' scores: shape of ``scores`` (N, M), ``references`` (M,).

    A reference of 0 or NaN (the expert solves nothing, or there is none) counts as 1.
    """
    values = np.asarray(scores, dtype=np.float64)
    bound = np.asarray(references, dtype=np.float64)
    return values / np.where(bound > 0, bound, 1.0)


def smallest_retention(scores: ArrayLike, references: ArrayLike) -> NDArray[np.float64]:
    """Smallest retention of each row of ``scores`` (N, M): shape (N,)."""
    return np.asarray(retentions(scores, references).min(axis=-1))


def tchebycheff(kept: ArrayLike, rho: float = 0.05) -> NDArray[np.float64]:
    """Augmented Tchebycheff loss of retentions (N, M): worst shortfall from 1 + ``rho`` x their sum, shape (N,).

    The sum breaks ties between rows of equal worst task (Steuer and Choo 1983, doi:10.1007/BF02591962).
    """
    shortfall = 1.0 - np.asarray(kept, dtype=np.float64)
    return np.asarray(shortfall.max(axis=-1) + rho * shortfall.sum(axis=-1))
