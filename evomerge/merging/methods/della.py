"""DELLA: drop by magnitude and chance, elect, fuse."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.parameters import Average, Density, Epsilon, Rescale, Scale
from evomerge.merging.registry import merge_method
from evomerge.merging.task_vectors import add_consensus
from evomerge.merging.trim import Trim, by_rank


@merge_method(paper="arXiv:2406.11617", measure=by_rank)
def della(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    measured: Trim,
    start: int,
    density: Density = 1.0,
    epsilon: Epsilon = 0.15,
    average: Average = "count",
    rescale: Rescale = "density",
    scale: Scale = 1.0,
) -> Tensor:
    """Drop random entries, small ones more often, rescale, elect a sign, average the experts that carry it."""
    return add_consensus(base, deltas, weights, average, scale, measured, start)
