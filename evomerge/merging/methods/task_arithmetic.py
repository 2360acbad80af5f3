"""Task arithmetic."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.parameters import Scale, Total
from evomerge.merging.registry import merge_method
from evomerge.merging.task_vectors import add_sum


@merge_method(paper="arXiv:2212.04089")
def task_arithmetic(
    base: Tensor, deltas: Tensor, weights: Tensor, *, average: Total = "sum", scale: Scale = 1.0
) -> Tensor:
    """Base plus the weighted sum of the task vectors."""
    return add_sum(base, deltas, weights, average, scale)
