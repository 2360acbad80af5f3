"""Model Breadcrumbs: no outliers, no noise."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.parameters import Density, Gamma, Rescale, Scale, Total
from evomerge.merging.registry import merge_method
from evomerge.merging.task_vectors import add_sum
from evomerge.merging.trim import Trim, without_outliers


@merge_method(paper="arXiv:2312.06795", measure=without_outliers)
def breadcrumbs(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    measured: Trim,
    start: int,
    density: Density = 1.0,
    gamma: Gamma = 0.01,
    average: Total = "sum",
    rescale: Rescale = "none",
    scale: Scale = 1.0,
) -> Tensor:
    """Drop the largest and the smallest entries, add the weighted sum of the rest to the base."""
    return add_sum(base, deltas, weights, average, scale, measured, start)
