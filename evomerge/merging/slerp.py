"""Spherical interpolation of two models."""

from __future__ import annotations

import torch
from torch import Tensor

from evomerge.errors import UserError
from evomerge.merging.base import merge_method
from evomerge.merging.view import View

# Above this cosine the arc is straight to float32 accuracy and the sines would divide small by small.
_PARALLEL = 0.9995


def coefficients(view: View, weights: Tensor) -> tuple[float, float] | None:
    """Factors of both models; None: both weights are 0, which means the base."""
    first, second = weights.tolist()
    if first == second == 0.0:
        return None
    if abs(first + second) < 1e-6 * (abs(first) + abs(second)):
        raise UserError(
            f"slerp divides by the sum of the weights, got {weights.tolist()} which sum to 0: use task_arithmetic"
        )
    t = second / (first + second)
    gram = torch.zeros(2, 2, dtype=torch.float64)
    for block in view.blocks():
        rows = block.experts.reshape(2, -1).double()
        gram += (rows @ rows.T).cpu()
    lengths = gram.diagonal().sqrt()
    cosine = torch.clamp(gram[0, 1] / lengths.prod().clamp_min(1e-300), -1.0, 1.0)
    if cosine.abs() > _PARALLEL:
        return 1.0 - t, t
    angle = torch.arccos(cosine)
    return float(torch.sin((1 - t) * angle) / torch.sin(angle)), float(torch.sin(t * angle) / torch.sin(angle))


@merge_method(
    paper="doi:10.1145/325334.325242",
    min_experts=2,
    max_experts=2,
    needs_base=False,
    relative_weights=True,
    measure=coefficients,
    exceptions={"untouched": "the arc leaves the straight line between two models even where both equal the base"},
)
def slerp(base: Tensor | None, models: Tensor, weights: Tensor, *, measured: tuple[float, float] | None) -> Tensor:
    """Along the arc between two models, at t = w_2 / (w_1 + w_2).

    Only the ratio of the weights matters. Both weights 0 give the base; weights that cancel are a UserError.
    """
    if measured is None:
        if base is None:
            raise UserError("slerp divides by the sum of the weights, got weights 0 and no base: give a weight")
        return base.clone()
    first, second = measured
    return (first * models[0]).add_(models[1], alpha=second)
