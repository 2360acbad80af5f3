"""Dot products between the experts of one parameter, and linear combinations with coefficients made from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evomerge.errors import UserError
from evomerge.merging.block import View

_CHUNK = 1 << 20  # entries of each expert that are widened to float64 at once


def gram_matrix(view: View, origin: bool = False) -> Tensor:
    """Dot products of all pairs of experts over the whole parameter, accumulated in float64.

    Args:
        view: T experts, as deltas or as models.
        origin: take the base off the experts first, where there is one.

    Returns:
        Shape (T, T), float64, on the CPU.
    """
    gram = torch.zeros(view.experts, view.experts, dtype=torch.float64)
    for block in view.blocks():
        rows = block.experts.reshape(view.experts, -1)
        base = block.base.reshape(-1) if origin and block.base is not None else None
        for start in range(0, rows.shape[1], _CHUNK):
            part = slice(start, start + _CHUNK)
            wide = rows[:, part].double()
            if base is not None:
                wide = wide - base[part].double()
            gram += (wide @ wide.T).cpu()
    return gram


def combined(base: Tensor | None, experts: Tensor, coefficients: Sequence[float]) -> Tensor:
    """base + sum of c_t (experts_t - base); without a base the sum of c_t experts_t.

    Args:
        base: shape S, or None.
        experts: the experts' parameters, shape (T, *S).
        coefficients: T numbers; experts with 0 are not read.
    """
    merged = None if base is None else base.clone()
    for model, coefficient in zip(experts, coefficients, strict=True):
        if coefficient != 0.0:
            own = model if base is None else model - base
            merged = own * coefficient if merged is None else merged.add_(own, alpha=coefficient)
    return torch.zeros_like(experts[0]) if merged is None else merged


def shares(method: str, weights: Tensor) -> Tensor | None:
    """Weights (T,) divided by their sum, in float64; None when all are 0.

    Raises:
        UserError: the weights cancel.
    """
    wide = weights.double().cpu()
    total = float(wide.sum())
    if not wide.any():
        return None
    if abs(total) <= 1e-6 * float(wide.abs().sum()):
        raise UserError(
            f"{method} divides by the sum of the weights, got {weights.tolist()} which sum to 0: use task_arithmetic"
        )
    return wide / total


def base_copy(method: str, base: Tensor | None) -> Tensor:
    """What a method gives when no expert has a weight: the base.

    Raises:
        UserError: there is none.
    """
    if base is None:
        raise UserError(f"{method} at weights 0 is the base, and there is none: give an expert a weight")
    return base.clone()
