"""Model Breadcrumbs with TIES' sign election."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.parameters import Average, Density, Gamma, Rescale, Scale
from evomerge.merging.registry import merge_method
from evomerge.merging.task_vectors import add_consensus
from evomerge.merging.trim import Trim, without_outliers


@merge_method(paper="arXiv:2312.06795; election: arXiv:2306.01708", measure=without_outliers)
def breadcrumbs_ties(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    measured: Trim,
    start: int,
    density: Density = 1.0,
    gamma: Gamma = 0.01,
    average: Average = "count",
    rescale: Rescale = "none",
    scale: Scale = 1.0,
) -> Tensor:
    """Drop the largest and the smallest entries, elect a sign per entry, average the experts that carry it."""
    return add_consensus(base, deltas, weights, average, scale, measured, start)
