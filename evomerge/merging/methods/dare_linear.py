"""DARE with a weighted sum."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.parameters import Density, Rescale, Scale, Total
from evomerge.merging.registry import merge_method
from evomerge.merging.task_vectors import add_sum
from evomerge.merging.trim import Trim, at_random


@merge_method(paper="arXiv:2311.03099", measure=at_random)
def dare_linear(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    measured: Trim,
    start: int,
    density: Density = 1.0,
    average: Total = "sum",
    rescale: Rescale = "density",
    scale: Scale = 1.0,
) -> Tensor:
    """Drop random entries, rescale the rest to keep the mean, add the weighted sum to the base."""
    return add_sum(base, deltas, weights, average, scale, measured, start)
