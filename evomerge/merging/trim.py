"""Thinning all experts' deltas of one parameter: what each method of the TIES and DARE family measures first."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from evomerge.merging.block import View
from evomerge.merging.parameters import PerExpert, per_expert
from evomerge.merging.randomness import Randomness, share
from evomerge.merging.sparsify import keep_between, keep_by_rank, keep_largest, keep_random, kept_count

Keep = Callable[[Tensor, int, int], Tensor]
"""(block of a delta, index of the expert, flat position of the block) -> the block with the dropped entries at 0."""

# Below this a norm says nothing about the other (mergekit's bound).
_NO_NORM = 1e-7


@dataclass(frozen=True)
class Trim:
    """How the deltas of one parameter are thinned: ``factors[t] * keep(delta, t, start)``."""

    keep: Keep
    factors: tuple[float, ...]


def by_magnitude(view: View, weights: Tensor, density: PerExpert, rescale: str) -> Trim:
    """TIES: the max(1, int(density n)) largest entries stay."""
    shares = _shares(density, weights)
    entries = math.prod(view.shape)
    cuts = [view.cut(t, kept_count(d, entries)) if d < 1.0 else None for t, d in enumerate(shares)]
    return _rescaled(view, rescale, shares, lambda delta, t, start: keep_largest(delta, cuts[t], start))


def without_outliers(view: View, weights: Tensor, density: PerExpert, gamma: PerExpert, rescale: str) -> Trim:
    """Breadcrumbs: int(density n) entries stay, those after the int(gamma n) largest.

    Fewer outliers go where that many entries would not be left; at density 1 none.
    """
    shares = _shares(density, weights)
    entries = math.prod(view.shape)
    cuts = []
    for t, (d, g) in enumerate(zip(shares, per_expert(gamma, view.experts), strict=True)):
        kept = int(d * entries)
        outliers = min(int(g * entries), entries - kept)
        cuts.append(
            (
                view.cut(t, outliers + kept) if 0 < kept < entries else None,
                view.cut(t, outliers) if outliers and kept else None,
                kept,
            )
        )

    def keep(delta: Tensor, t: int, start: int) -> Tensor:
        outer, inner, kept = cuts[t]
        return keep_between(delta, outer, inner, start) if kept else torch.zeros_like(delta)

    return _rescaled(view, rescale, shares, keep)


def at_random(view: View, weights: Tensor, randomness: Randomness, density: PerExpert, rescale: str) -> Trim:
    """DARE: each entry stays with probability density."""
    shares = _shares(density, weights)
    probabilities = [share(d) for d in shares]
    return _rescaled(
        view, rescale, probabilities, lambda delta, t, start: keep_random(delta, shares[t], randomness.at(start), t)
    )


def by_rank(
    view: View, weights: Tensor, randomness: Randomness, density: PerExpert, epsilon: PerExpert, rescale: str
) -> Trim:
    """DELLA: each entry stays with a probability around the density that rises with its rank in its row."""
    shares, spreads = _shares(density, weights), per_expert(epsilon, view.experts)
    divide = rescale == "density"  # here by each entry's own probability

    def keep(delta: Tensor, t: int, start: int) -> Tensor:
        return keep_by_rank(delta, shares[t], spreads[t], randomness.at(start), t, divide)

    return _rescaled(view, "none" if divide else rescale, shares, keep)


def _shares(density: PerExpert, weights: Tensor) -> list[float]:
    """Densities, with 1 for experts of weight 0, which nobody asks for: nothing is measured for them."""
    pairs = zip(per_expert(density, len(weights)), weights.tolist(), strict=True)
    return [share if weight != 0.0 else 1.0 for share, weight in pairs]


def _rescaled(view: View, rescale: str, shares: Sequence[float], keep: Keep) -> Trim:
    if rescale == "none":
        return Trim(keep, (1.0,) * view.experts)
    if rescale == "density":
        return Trim(keep, tuple(1.0 / share for share in shares))
    thinned = [t for t, share in enumerate(shares) if share < 1.0]
    before, after = [0.0] * view.experts, [0.0] * view.experts
    for block in view.blocks() if thinned else ():
        for t in thinned:
            delta = block.experts[t]
            before[t] += _l1(delta)
            after[t] += _l1(keep(delta, t, block.start))
    norms = zip(before, after, strict=True)
    return Trim(keep, tuple(b / a if min(a, b) >= _NO_NORM else 1.0 for b, a in norms))


def _l1(delta: Tensor) -> float:
    """float64: a float32 sum over millions of entries loses digits of the factor."""
    return float(vector_norm(delta.double(), ord=1))
