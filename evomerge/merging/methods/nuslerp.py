"""Spherical interpolation of two models or of their deltas, whole or vector by vector."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.block import View
from evomerge.merging.gram import base_copy, combined, gram_matrix, shares
from evomerge.merging.parameters import Flag
from evomerge.merging.registry import merge_method

# 1 - cos^2 up to which two vectors lie on one line: an angle of 1e-6, where arc and line differ by 1e-12.
_COLLINEAR = 1e-12
_ZERO = 1e-7


def products(
    view: View, weights: Tensor, flatten: bool = True, row_wise: bool = False
) -> tuple[float, Tensor | None] | None:
    """t, and where the vectors are longer than a row their dot products a.a, b.b, a.b; None: both weights are 0."""
    parts = shares("nuslerp", weights)
    if parts is None:
        return None
    t = float(parts[1])
    if flatten:
        gram = gram_matrix(view, origin=True)
        return t, torch.stack([gram[0, 0], gram[1, 1], gram[0, 1]])
    if not row_wise or len(view.shape) < 2:
        return t, None
    found = torch.zeros(3, *view.shape[1:], dtype=torch.float64)
    for block in view.blocks():
        first, second = _from_origin(block.base, block.experts)
        found += _dots(first, second, 0).to(found)
    return t, found


@merge_method(
    paper="https://github.com/arcee-ai/mergekit",
    min_experts=2,
    max_experts=2,
    relative_weights=True,
    measure=products,
)
def nuslerp(
    base: Tensor | None,
    models: Tensor,
    weights: Tensor,
    *,
    measured: tuple[float, Tensor | None] | None,
    flatten: Annotated[bool, Flag()] = True,
    row_wise: Annotated[bool, Flag()] = False,
) -> Tensor:
    """Along the arc between two deltas (without a base: two models), at t = w_2 / (w_1 + w_2).

    Only the ratio of the weights matters. Both weights 0 give the base; weights that cancel are a UserError.

    Args:
        flatten: one arc for the whole parameter; else one for each vector along the last dimension.
        row_wise: with ``flatten: false``, the vectors run along the first dimension instead.
    """
    if measured is None:
        return base_copy("nuslerp", base)
    t, dots = measured
    if flatten and dots is not None:
        return combined(base, models, [float(c) for c in _arc(dots, t)])
    first, second = _from_origin(base, models)
    if dots is None:
        along = -1 if first.ndim else 0
        dots = _dots(first.reshape(1) if not first.ndim else first, second, along).unsqueeze(-1)
    c_first, c_second = (c.to(first).reshape(c.shape if first.ndim else ()) for c in _arc(dots, t))
    merged = c_first * first + c_second * second
    return merged if base is None else merged.add_(base)


def _from_origin(base: Tensor | None, models: Tensor) -> tuple[Tensor, Tensor]:
    return (models[0], models[1]) if base is None else (models[0] - base, models[1] - base)


def _dots(first: Tensor, second: Tensor, dim: int) -> Tensor:
    """a.a, b.b and a.b along a dimension, in float64."""
    # the products too: rounded to float32 they make opposite vectors look a little bent, and the arc's factors huge
    first, second = first.double(), second.double()
    pairs = ((first, first), (second, second), (first, second))
    return torch.stack([torch.sum(a * b, dim=dim) for a, b in pairs])


def _arc(dots: Tensor, t: float) -> tuple[Tensor, Tensor]:
    """Factors of both vectors, from a.a, b.b, a.b of shape (3, ...)."""
    lengths = dots[:2].sqrt().clamp_min(_ZERO)
    cosine = (dots[2] / lengths.prod(0)).clamp(-1.0, 1.0)
    straight = 1.0 - cosine.square() <= _COLLINEAR
    angle = torch.arccos(cosine.masked_fill(straight, 0.0))
    sine = torch.sin(angle)
    first = torch.where(straight, 1.0 - t, torch.sin((1.0 - t) * angle) / sine)
    return first, torch.where(straight, t, torch.sin(t * angle) / sine)
