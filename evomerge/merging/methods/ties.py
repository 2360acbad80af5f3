"""TIES: trim, elect sign, disjoint merge."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.parameters import Average, Density, Rescale, Scale
from evomerge.merging.registry import merge_method
from evomerge.merging.task_vectors import add_consensus
from evomerge.merging.trim import Trim, by_magnitude


@merge_method(paper="arXiv:2306.01708", measure=by_magnitude)
def ties(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    measured: Trim,
    start: int,
    density: Density = 1.0,
    average: Average = "count",
    rescale: Rescale = "none",
    scale: Scale = 1.0,
) -> Tensor:
    """Keep the largest entries, elect a sign per entry, average the experts that carry it."""
    return add_consensus(base, deltas, weights, average, scale, measured, start)
