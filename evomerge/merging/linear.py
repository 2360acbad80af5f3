"""Weighted average of the experts' parameters."""

from __future__ import annotations

import torch
from torch import Tensor

from evomerge.errors import UserError
from evomerge.merging.base import merge_method


@merge_method(paper="arXiv:2203.05482", needs_base=False, relative_weights=True)
def linear(base: Tensor | None, models: Tensor, weights: Tensor) -> Tensor:
    """Weighted average of the experts: sum of w_t W_t over the sum of w_t.

    Only the ratio of the weights matters. All weights 0 give the base; weights that cancel are a UserError.
    """
    total = float(weights.sum())
    if not weights.any() and base is not None:
        return base.clone()
    if abs(total) <= 1e-6 * float(weights.abs().sum()):
        raise UserError(
            f"linear divides by the sum of the weights, got {weights.tolist()} which sum to 0: use task_arithmetic"
        )
    average: Tensor = torch.tensordot((weights / total).to(models), models, dims=1)
    return average
