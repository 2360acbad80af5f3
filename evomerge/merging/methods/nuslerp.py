"""Spherical interpolation of two models or of their deltas, whole or vector by vector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.block import Block, Parameter
from evomerge.merging.combination import combine, gram_matrix, normalized
from evomerge.merging.parameters import Flag
from evomerge.merging.registry import merge_method

# 1 - cos^2 up to which two vectors lie on one line: an angle of 1e-6, where arc and line differ by 1e-12.
_COLLINEAR = 1e-12
_ZERO = 1e-7


@merge_method(
    paper="https://github.com/arcee-ai/mergekit", min_experts=2, max_experts=2, base="optional", relative_weights=True
)
def nuslerp(
    parameter: Parameter,
    weights: Tensor,
    *,
    flatten: Annotated[bool, Flag()] = True,
    row_wise: Annotated[bool, Flag()] = False,
) -> Iterator[Tensor]:
    """Along the arc between two deltas (without a base: two models), at t = w_2 / (w_1 + w_2).

    Only the ratio of the weights matters. Both weights 0 give the base; weights that cancel are a UserError.

    Args:
        flatten: one arc for the whole parameter; else one for each vector along the last dimension.
        row_wise: with ``flatten: false``, the vectors run along the first dimension instead.
    """
    ratios = normalized("nuslerp", weights)
    if ratios is None:
        return combine("nuslerp", parameter, None)
    t = float(ratios[1])
    if flatten:
        gram = gram_matrix(parameter, around_base=True)
        dots = torch.stack([gram[0, 0], gram[1, 1], gram[0, 1]])
        return combine("nuslerp", parameter, [float(c) for c in _arc(dots, t)], around_base=True)
    columns = _column_dots(parameter) if row_wise and len(parameter.shape) >= 2 else None
    return (_on_arcs(block, columns, t) for block in parameter.blocks())


def _column_dots(parameter: Parameter) -> Tensor:
    """a.a, b.b and a.b of the vectors along the first dimension, shape (3, *rest)."""
    total = torch.zeros(3, *parameter.shape[1:], dtype=torch.float64)
    for block in parameter.blocks():
        first, second = _from_base(block)
        total += _dots(first, second, 0).to(total)
    return total


def _on_arcs(block: Block, dots: Tensor | None, t: float) -> Tensor:
    """The block with an arc for each vector; without ``dots`` for each vector along the last dimension."""
    first, second = _from_base(block)
    if dots is None:
        along = -1 if first.ndim else 0
        dots = _dots(first.reshape(1) if not first.ndim else first, second, along).unsqueeze(-1)
    c_first, c_second = (c.to(first).reshape(c.shape if first.ndim else ()) for c in _arc(dots, t))
    merged = c_first * first + c_second * second
    return merged if block.base is None else merged.add_(block.base)


def _from_base(block: Block) -> tuple[Tensor, Tensor]:
    """Both deltas; without a base both models."""
    first, second = block.experts
    return (first, second) if block.base is None else (first - block.base, second - block.base)


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
