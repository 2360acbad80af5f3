"""TIES: trim, elect sign, disjoint merge."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from evomerge.merging.base import merge_method, per_expert
from evomerge.merging.consensus import disjoint_mean
from evomerge.merging.sparsify import Density, MagnitudeIndex, keep_largest


@merge_method(paper="arXiv:2306.01708")
def ties(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    magnitudes: Sequence[MagnitudeIndex] | None = None,
    density: Density = 1.0,
) -> Tensor:
    """Keep the largest entries, elect a sign per entry, average the experts that carry it."""
    indices: Sequence[MagnitudeIndex | None] = magnitudes or [None] * len(deltas)
    kept = [
        keep_largest(delta, share, index)
        for delta, share, index in zip(deltas, per_expert(density, len(deltas)), indices, strict=True)
    ]
    return base + disjoint_mean(kept, weights)
