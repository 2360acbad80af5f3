"""DELLA without sign election."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.parameters import Density, Epsilon, Rescale, Scale, Total
from evomerge.merging.registry import merge_method
from evomerge.merging.task_vectors import add_sum
from evomerge.merging.trim import Trim, by_rank


@merge_method(paper="arXiv:2406.11617", measure=by_rank)
def della_linear(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    measured: Trim,
    start: int,
    density: Density = 1.0,
    epsilon: Epsilon = 0.15,
    average: Total = "sum",
    rescale: Rescale = "density",
    scale: Scale = 1.0,
) -> Tensor:
    """Drop random entries, small ones more often, rescale, add the weighted sum to the base."""
    return add_sum(base, deltas, weights, average, scale, measured, start)
