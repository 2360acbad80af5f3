"""Arcee Fusion: only an expert's most important changes."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from evomerge.merging.block import View
from evomerge.merging.registry import merge_method
from evomerge.merging.sparsify import MagnitudeIndex

_EPSILON = 1e-8
_CHUNK = 1 << 20  # entries whose softmax is held at once, in float64


def measure(view: View, weights: Tensor) -> tuple[Tensor, float]:
    """Divergence of each row (along the last dimension) and the importance that an entry must have to count.

    The quartiles are exact; mergekit draws a random sample of larger parameters.
    """
    entries = 1
    for size in view.shape:
        entries *= size
    divergence = torch.cat([_divergence(block.base, block.experts[0]) for block in view.blocks()])

    def importance() -> Iterator[Tensor]:
        row = 0
        for block in view.blocks():
            found = _importance(block.experts[0], divergence[row:])
            row += len(found)
            yield found

    index = MagnitudeIndex.build(importance())
    low, middle, high = (
        torch.tensor(index.cut(importance(), entries - int(quarter * (entries - 1))).threshold, dtype=index.dtype)
        for quarter in (0.25, 0.5, 0.75)
    )
    return divergence, float(middle + 1.5 * (high - low))


@merge_method(
    paper="https://arcee.ai",
    max_experts=1,
    measure=measure,
    exceptions={"identity": "takes the important entries only"},
)
def arcee_fusion(
    base: Tensor, deltas: Tensor, weights: Tensor, *, measured: tuple[Tensor, float], start: int
) -> Tensor:
    """Take an entry over where its importance, |delta| x KL(row of expert, row of base), is far above the middle.

    Far means 1.5 interquartile ranges; rows run along the last dimension and are made distributions by a softmax.
    """
    divergence, threshold = measured
    delta = deltas[0]
    width = delta.shape[-1] if delta.ndim else 1
    important = _importance(delta, divergence[start // width :]) >= threshold
    return base + delta * important.reshape(delta.shape) * weights[0].to(delta)


def _importance(delta: Tensor, divergence: Tensor) -> Tensor:
    """Shape (rows, width) of |delta| times the first so many divergences."""
    rows = _rows(delta)
    return rows.abs().mul_(divergence[: len(rows), None].to(rows))


def _divergence(base: Tensor | None, delta: Tensor) -> Tensor:
    """KL divergence of each row, from float64: in float32 that of small changes drowns in rounding."""
    assert base is not None
    origin, changes = _rows(base), _rows(delta)
    found = []
    for part in range(0, len(origin), max(1, _CHUNK // origin.shape[1])):
        rows = slice(part, part + max(1, _CHUNK // origin.shape[1]))
        wide = origin[rows].double()
        q = wide.softmax(-1) + _EPSILON
        p = (wide + changes[rows].double()).softmax(-1) + _EPSILON
        found.append((p * (p / q).log_()).sum(-1).clamp_min_(0.0))
    return torch.cat(found)


def _rows(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1, tensor.shape[-1] if tensor.ndim else 1)
