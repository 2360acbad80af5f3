"""DARE with TIES' sign election."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.base import merge_method
from evomerge.merging.consensus import agreeing_mean
from evomerge.merging.parameters import Density, per_expert
from evomerge.merging.randomness import Randomness
from evomerge.merging.sparsify import drop_and_rescale


@merge_method(paper="arXiv:2311.03099")
def dare_ties(
    base: Tensor, deltas: Tensor, weights: Tensor, *, randomness: Randomness, density: Density = 1.0
) -> Tensor:
    """Drop random entries, rescale the rest, elect a sign per entry, average the experts that carry it."""
    shares = per_expert(density, len(deltas))
    kept = [drop_and_rescale(delta, shares[t], randomness, t) for t, delta in enumerate(deltas)]
    return base + agreeing_mean(kept, weights)
