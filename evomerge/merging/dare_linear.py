"""DARE with a weighted sum."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.base import merge_method
from evomerge.merging.parameters import Density, per_expert
from evomerge.merging.randomness import Randomness
from evomerge.merging.sparsify import drop_and_rescale


@merge_method(paper="arXiv:2311.03099")
def dare_linear(
    base: Tensor, deltas: Tensor, weights: Tensor, *, randomness: Randomness, density: Density = 1.0
) -> Tensor:
    """Drop random entries, rescale the rest to keep the mean, add the weighted sum to the base."""
    merged = base.clone()
    for t, (weight, share) in enumerate(zip(weights.tolist(), per_expert(density, len(deltas)), strict=True)):
        if weight != 0.0:
            merged.add_(drop_and_rescale(deltas[t], share, randomness, t), alpha=weight)
    return merged
