"""Merges that are linear combinations of the experts, with factors made from their dot products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from evomerge.errors import UserError
from evomerge.merging.block import Parameter

_CHUNK = 1 << 20  # entries of each expert that are converted to float64 at once


def combine(
    method: str, parameter: Parameter, factors: Sequence[float] | None, around_base: bool = False
) -> Iterator[Tensor]:
    """The sum of c_t experts_t, block by block.

    Args:
        method: named in errors.
        parameter: T experts, as models.
        factors: c, T numbers; None: copy the base.
        around_base: base + sum of c_t (experts_t - base) instead, where there is a base.

    Raises:
        UserError: a copy of the base is asked for, and there is none.
    """
    for block in parameter.blocks():
        if factors is None:
            yield base_copy(method, block.base)
        else:
            yield _combined(block.base if around_base else None, block.experts, factors)


def _combined(base: Tensor | None, models: Tensor, factors: Sequence[float]) -> Tensor:
    """One block; experts whose factor is 0 are not read."""
    merged = None if base is None else base.clone()
    for model, factor in zip(models, factors, strict=True):
        if factor != 0.0:
            delta = model if base is None else model - base
            merged = delta * factor if merged is None else merged.add_(delta, alpha=factor)
    return torch.zeros_like(models[0]) if merged is None else merged


def gram_matrix(parameter: Parameter, around_base: bool = False) -> Tensor:
    """Dot products of all pairs of experts over the whole parameter, accumulated in float64.

    Args:
        parameter: T experts, as deltas or as models.
        around_base: subtract the base from the experts first, where there is one.

    Returns:
        Shape (T, T), float64, on the CPU.
    """
    gram = torch.zeros(parameter.experts, parameter.experts, dtype=torch.float64)
    for block in parameter.blocks():
        rows = block.experts.reshape(parameter.experts, -1)
        base = block.base.reshape(-1) if around_base and block.base is not None else None
        for start in range(0, rows.shape[1], _CHUNK):
            part = slice(start, start + _CHUNK)
            double = rows[:, part].double()
            if base is not None:
                double = double - base[part].double()
            gram += (double @ double.T).cpu()
    return gram


def normalized(method: str, weights: Tensor) -> Tensor | None:
    """Weights (T,) divided by their sum, in float64; None when all are 0.

    Raises:
        UserError: the weights cancel; names the method.
    """
    double = weights.double().cpu()
    total = float(double.sum())
    if not double.any():
        return None
    if abs(total) <= 1e-6 * float(double.abs().sum()):
        raise UserError(
            f"{method} divides by the sum of the weights, got {weights.tolist()} which sum to 0: use task_arithmetic"
        )
    return double / total


def base_copy(method: str, base: Tensor | None) -> Tensor:
    """What a method gives when no expert has a weight: the base.

    Raises:
        UserError: there is none.
    """
    if base is None:
        raise UserError(f"{method} at weights 0 is the base, and there is none: give an expert a weight")
    return base.clone()
