"""Arcee Fusion: copy only an expert's most important changes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from evomerge.merging.block import Block, Parameter
from evomerge.merging.magnitude_index import MagnitudeIndex
from evomerge.merging.registry import merge_method

_EPSILON = 1e-8
_CHUNK = 1 << 20  # entries whose softmax is in memory at once, in float64


@merge_method(paper="https://arcee.ai", max_experts=1, exceptions={"identity": "takes the important entries only"})
def arcee_fusion(parameter: Parameter, weights: Tensor) -> Iterator[Tensor]:
    """Copy entries whose importance, |delta| x KL(row of expert, row of base), is far above the median.

    Far means 1.5 interquartile ranges; rows run along the last dimension and are made distributions by a softmax. The
    quartiles are exact; mergekit draws a random sample of larger parameters.
    """
    divergences = torch.cat([_divergence(block) for block in parameter.blocks()])
    threshold = _threshold(parameter, divergences)
    for block, importance in _importances(parameter, divergences):
        delta = block.experts[0]
        important = importance.reshape(delta.shape) >= threshold
        yield block.add_base(delta * important * weights[0].to(delta))


def _importances(parameter: Parameter, divergences: Tensor) -> Iterator[tuple[Block, Tensor]]:
    """Each block with |delta| times its row's divergence, shape (rows, width)."""
    row = 0
    for block in parameter.blocks():
        rows = _rows(block.experts[0])
        yield block, rows.abs().mul_(divergences[row : row + len(rows), None].to(rows))
        row += len(rows)


def _threshold(parameter: Parameter, divergences: Tensor) -> float:
    """The importance from which an entry is copied."""
    entries = math.prod(parameter.shape)

    def importances() -> Iterator[Tensor]:
        return (importance for _, importance in _importances(parameter, divergences))

    index = MagnitudeIndex.build(importances())
    low, median, high = (
        torch.tensor(index.cut(importances(), entries - int(quarter * (entries - 1))).threshold, dtype=index.dtype)
        for quarter in (0.25, 0.5, 0.75)
    )
    return float(median + 1.5 * (high - low))


def _divergence(block: Block) -> Tensor:
    """KL divergence of each row, from float64: in float32 that of small changes drowns in rounding."""
    assert block.base is not None
    base, deltas = _rows(block.base), _rows(block.experts[0])
    divergences = []
    for part in range(0, len(base), max(1, _CHUNK // base.shape[1])):
        rows = slice(part, part + max(1, _CHUNK // base.shape[1]))
        double = base[rows].double()
        q = double.softmax(-1) + _EPSILON
        p = (double + deltas[rows].double()).softmax(-1) + _EPSILON
        divergences.append((p * (p / q).log_()).sum(-1).clamp_min_(0.0))
    return torch.cat(divergences)


def _rows(tensor: Tensor) -> Tensor:
    """The tensor as rows along its last dimension."""
    return tensor.reshape(-1, tensor.shape[-1] if tensor.ndim else 1)
