"""Spherical interpolation of two experts."""

from __future__ import annotations

import torch
from torch import Tensor

from evomerge.errors import UserError
from evomerge.merging.base import merge_method

# Above this cosine the arc is straight to float32 accuracy and the sines would divide small by small.
_PARALLEL = 0.9995


@merge_method(paper="doi:10.1145/325334.325242", min_experts=2, max_experts=2, needs_base=False, relative_weights=True)
def slerp(base: Tensor, deltas: Tensor, weights: Tensor) -> Tensor:
    """Along the arc between two experts, at t = w_2 / (w_1 + w_2).

    Only the ratio of the weights matters. Both weights 0 give the base; weights that cancel are a UserError.
    """
    first, second = weights.tolist()
    if first == second == 0.0:
        return base.clone()
    if abs(first + second) < 1e-6 * (abs(first) + abs(second)):
        raise UserError(
            f"slerp divides by the sum of the weights, got {weights.tolist()} which sum to 0: use task_arithmetic"
        )
    t = second / (first + second)
    a, b = base + deltas[0], base + deltas[1]
    lengths = (torch.linalg.vector_norm(a) * torch.linalg.vector_norm(b)).clamp_min(torch.finfo(a.dtype).tiny)
    cosine = torch.clamp(torch.sum(a * b) / lengths, -1.0, 1.0)
    if cosine.abs() > _PARALLEL:
        return base + torch.lerp(deltas[0], deltas[1], t)
    angle = torch.arccos(cosine)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)
