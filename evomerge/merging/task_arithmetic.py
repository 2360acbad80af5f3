"""Task arithmetic."""

from __future__ import annotations

import torch
from torch import Tensor

from evomerge.merging.base import merge_method


@merge_method(paper="arXiv:2212.04089")
def task_arithmetic(base: Tensor, deltas: Tensor, weights: Tensor) -> Tensor:
    """Base plus the weighted sum of the task vectors."""
    update: Tensor = torch.tensordot(weights, deltas, dims=1)
    return base + update
