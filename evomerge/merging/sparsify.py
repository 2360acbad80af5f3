"""Sparsifying a delta: keep its largest entries (TIES) or random ones (DARE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evomerge.errors import UserError
from evomerge.merging.base import PerExpert, Range
from evomerge.merging.randomness import Randomness, share

Density = Annotated[PerExpert, Range(0.05, 1.0, above=0.0, at_most=1.0)]
"""Share of a delta's entries that are kept, per expert."""

# Bins of |d| are the top bits of its float32 pattern, which orders non-negative floats: 8 exponent bits and 8 of
# the mantissa, so a bin spans 0.4 % and holds few entries of any ordinary tensor.
_SHIFT = 15
_INFINITY = 0x7F800000


@dataclass(frozen=True)
class Cut:
    """The k largest entries: those above ``threshold`` and those equal to it up to position ``last_tie``.

    ``splits_ties``: some entries equal to the threshold lie beyond.
    """

    threshold: float
    last_tie: int
    splits_ties: bool


@dataclass(frozen=True)
class MagnitudeIndex:
    """Histogram of a delta's magnitudes, built once: it finds the k largest for every k without a sort.

    Attributes:
        bins: the occupied bins, largest magnitudes first.
        counts: entries in these bins and all larger ones.
    """

    bins: NDArray[np.int32]
    counts: NDArray[np.int64]

    @classmethod
    def build(cls, delta: Tensor) -> MagnitudeIndex:
        """Index of a float32 tensor of any shape."""
        counted = np.bincount(_patterns(delta) >> _SHIFT)
        occupied = np.flatnonzero(counted)[::-1]
        if occupied[0] << _SHIFT >= _INFINITY:
            raise UserError("an expert's difference to the base must be finite, got NaN or infinity: a damaged file?")
        return cls(occupied.astype(np.int32), np.cumsum(counted[occupied]))

    def cut(self, delta: Tensor, k: int) -> Cut:
        """The k largest |d| of the indexed ``delta``; of equal ones those that come first. 1 <= k <= n."""
        at = int(np.searchsorted(self.counts, k))
        wanted = k - (int(self.counts[at - 1]) if at else 0)
        # Floats, not bit patterns: two compares of a vector unit find the bin's members.
        low, high = (_magnitude((int(self.bins[at]) + step) << _SHIFT) for step in (0, 1))
        magnitude = delta.detach().reshape(-1).abs().cpu().numpy()
        members = np.flatnonzero((magnitude >= low) & (magnitude < high))
        values = magnitude[members]
        threshold = np.partition(values, len(values) - wanted)[len(values) - wanted]
        ties = members[values == threshold]
        kept_ties = wanted - int(np.count_nonzero(values > threshold))
        return Cut(float(threshold), int(ties[kept_ties - 1]), kept_ties < len(ties))


def keep_largest(delta: Tensor, density: float, index: MagnitudeIndex | None = None) -> Tensor:
    """``delta`` with all but its k = max(1, int(density n)) largest entries set to 0; ties by position.

    Args:
        delta: float32, any shape.
        density: in (0, 1].
        index: the delta's index, when it is at hand.
    """
    delta = delta.contiguous()
    n = delta.numel()
    k = max(1, int(density * n))
    if k >= n:
        return delta
    cut = (index or MagnitudeIndex.build(delta)).cut(delta, k)
    if cut.threshold == 0.0:  # every nonzero entry is among the k
        return delta
    below = float(np.nextafter(np.float32(cut.threshold), np.float32(0)))
    kept = torch.nn.functional.hardshrink(delta, below)  # one pass: keeps |d| > below, that is >= threshold
    if cut.splits_ties:
        flat = kept.view(-1)
        tied = (flat.abs() == cut.threshold).nonzero().squeeze(1)
        flat[tied[tied > cut.last_tie]] = 0.0
    return kept


def drop_and_rescale(delta: Tensor, density: float, randomness: Randomness, expert: int) -> Tensor:
    """DARE (arXiv:2311.03099): drop each entry with probability 1 - density, divide the others by the density.

    Args:
        delta: any shape.
        density: in (0, 1].
        randomness, expert: of this parameter, and the expert's index there.
    """
    if density >= 1.0:
        return delta
    stays = randomness.mask(expert, delta.shape, density).to(delta.device)
    return delta.mul(stays).div_(share(density))


def _patterns(delta: Tensor) -> NDArray[np.int32]:
    """Float32 patterns of |delta|, flat: non-negative int32 in the order of the magnitudes."""
    flat = delta.detach().reshape(-1).abs().cpu()
    assert flat.dtype == torch.float32, flat.dtype
    return flat.numpy().view(np.int32)


def _magnitude(pattern: int) -> float:
    return float(np.array(pattern, dtype=np.int32).view(np.float32))
