"""TIES: trim, elect sign, disjoint merge."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.base import merge_method
from evomerge.merging.consensus import agreeing_mean
from evomerge.merging.parameters import Average, Density, Scale, per_expert
from evomerge.merging.sparsify import Cut, keep_largest, kept_count
from evomerge.merging.view import View


def cuts(view: View, weights: Tensor, density: Density = 1.0) -> list[Cut | None]:
    """What separates each expert's largest entries from the rest."""
    entries = 1
    for size in view.shape:
        entries *= size
    shares = per_expert(density, view.experts)
    return [view.cut(t, kept_count(share, entries)) if share < 1.0 else None for t, share in enumerate(shares)]


@merge_method(paper="arXiv:2306.01708", measure=cuts)
def ties(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    measured: list[Cut | None],
    start: int,
    density: Density = 1.0,
    average: Average = "count",
    scale: Scale = 1.0,
) -> Tensor:
    """Keep the largest entries, elect a sign per entry, average the experts that carry it."""
    kept = [keep_largest(delta, cut, start) for delta, cut in zip(deltas, measured, strict=True)]
    return base + scale * agreeing_mean(kept, weights, average)
