"""DARE with TIES' sign election."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.parameters import Average, Density, Rescale, Scale
from evomerge.merging.registry import merge_method
from evomerge.merging.task_vectors import add_consensus
from evomerge.merging.trim import Trim, at_random


@merge_method(paper="arXiv:2311.03099", measure=at_random)
def dare_ties(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    measured: Trim,
    start: int,
    density: Density = 1.0,
    average: Average = "count",
    rescale: Rescale = "density",
    scale: Scale = 1.0,
) -> Tensor:
    """Drop random entries, rescale the rest, elect a sign per entry, average the experts that carry it."""
    return add_consensus(base, deltas, weights, average, scale, measured, start)
