"""Thinning a delta: keep its largest entries (TIES), all but outliers (Breadcrumbs) or random ones (DARE, DELLA)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evomerge.errors import UserError
from evomerge.merging.randomness import LEVELS, Randomness

# The bit pattern of |d| orders non-negative floats. Its top bits (exponent and 8 of the mantissa, so that a bin spans
# 0.4 % and holds few entries of any ordinary tensor) are the bins of an index that is kept.
_TOP_SHIFT = {torch.float32: 15, torch.float64: 44}
_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


@dataclass(frozen=True)
class Cut:
    """The k largest entries: those above ``threshold``, and of those equal to it the ones up to ``last_tie``.

    ``last_tie`` is a flat position; None: all equal ones belong.
    """

    threshold: float
    last_tie: int | None


@dataclass(frozen=True)
class MagnitudeIndex:
    """Histogram of a delta's magnitudes, built once: it finds the k largest for every k without a sort.

    Attributes:
        bins: the occupied bins, largest magnitudes first.
        counts: entries in these bins and all larger ones.
        dtype: of the delta.
    """

    bins: NDArray[np.int32]
    counts: NDArray[np.int64]
    dtype: torch.dtype

    @classmethod
    def build(cls, blocks: Iterable[Tensor]) -> MagnitudeIndex:
        """Index of a float32 or float64 tensor, given in blocks of any shape.

        Raises:
            UserError: the tensor holds NaN or infinity.
        """
        counted = np.zeros(0, np.int64)
        dtype = torch.float32
        for block in blocks:
            dtype = block.dtype
            # counted where the block lies: an accelerator sends the counts, not the entries
            found = torch.bincount(_patterns(block) >> _TOP_SHIFT[dtype], minlength=len(counted)).cpu().numpy()
            found[: len(counted)] += counted
            counted = found
        occupied = np.flatnonzero(counted)[::-1]
        infinity = int(_patterns(torch.tensor([torch.inf], dtype=dtype))[0]) >> _TOP_SHIFT[dtype]
        if occupied[0] >= infinity:
            raise UserError("an expert's difference to the base must be finite, got NaN or infinity: a damaged file?")
        return cls(occupied.astype(np.int32), np.cumsum(counted[occupied]), dtype)

    def cut(self, blocks: Iterable[Tensor], k: int) -> Cut:
        """The k largest |d| of the indexed delta; of equal ones those that come first.

        Args:
            blocks: the delta's blocks, in order.
            k: 1 <= k <= number of entries.
        """
        at = int(np.searchsorted(self.counts, k))
        wanted = k - (int(self.counts[at - 1]) if at else 0)
        # Floats, not bit patterns: two compares of a vector unit find the bin's members.
        low, high = (self._float((int(self.bins[at]) + step) << _TOP_SHIFT[self.dtype]) for step in (0, 1))
        values, positions, start = [], [], 0
        for block in blocks:
            magnitude = block.detach().reshape(-1).abs()
            members, found = _between(magnitude, low, high)
            values.append(found)
            positions.append(members + start)
            start += len(magnitude)
        candidates = np.concatenate(values)
        threshold = np.partition(candidates, len(candidates) - wanted)[len(candidates) - wanted]
        ties = np.concatenate(positions)[candidates == threshold]
        kept_ties = wanted - int(np.count_nonzero(candidates > threshold))
        return Cut(float(threshold), int(ties[kept_ties - 1]) if kept_ties < len(ties) else None)

    def _float(self, pattern: int) -> float:
        return float(torch.tensor(pattern, dtype=_INTEGERS[self.dtype]).view(self.dtype))


def kept_count(density: float, entries: int) -> int:
    """How many of so many entries a density keeps: k = max(1, int(density n))."""
    return min(entries, max(1, int(density * entries)))


def keep_largest(delta: Tensor, cut: Cut | None, start: int = 0) -> Tensor:
    """A block of a delta with all entries outside the cut set to 0; the block itself when nothing goes.

    Args:
        delta: any shape; its first entry has the flat position ``start`` in the whole parameter.
        cut: of the whole parameter; None keeps everything.
    """
    if cut is None or cut.threshold == 0.0:  # at threshold 0 every nonzero entry stays
        return delta
    if cut.last_tie is not None and cut.last_tie < start:
        return torch.nn.functional.hardshrink(delta, cut.threshold)  # one pass: keeps |d| > threshold
    number = np.float32 if delta.dtype == torch.float32 else np.float64
    below = float(np.nextafter(number(cut.threshold), number(0)))
    kept = torch.nn.functional.hardshrink(delta, below)  # |d| > below, that is >= threshold
    if cut.last_tie is not None and cut.last_tie < start + delta.numel() - 1:
        flat = kept.view(-1)
        tied = (flat.abs() == cut.threshold).nonzero().squeeze(1)
        flat[tied[tied + start > cut.last_tie]] = 0.0
    return kept


def keep_between(delta: Tensor, outer: Cut | None, inner: Cut | None, start: int = 0) -> Tensor:
    """The entries of ``outer`` (None: of the whole delta) without those of ``inner`` (None: of nothing)."""
    kept = keep_largest(delta, outer, start)
    return kept if inner is None else kept - keep_largest(delta, inner, start)


def keep_random(delta: Tensor, density: float, randomness: Randomness, expert: int) -> Tensor:
    """DARE (arXiv:2311.03099): keep each entry with probability :func:`share` of the density.

    Args:
        delta: a block of any shape.
        density: in (0, 1].
        randomness, expert: of this block, and the expert's index there.
    """
    if density >= 1.0:
        return delta
    return delta * randomness.mask(expert, delta.shape, density).to(delta.device)


def keep_by_rank(
    delta: Tensor, density: float, epsilon: float, randomness: Randomness, expert: int, divide: bool
) -> Tensor:
    """DELLA's MagPrune (arXiv:2406.11617, sec. 3.1): keep each entry with a probability that rises with its rank.

    The rank is that of the magnitude along dimension 1 (a row of a weight matrix; a vector is one row), equal ones by
    position. The probability rises evenly from density - epsilon to density + epsilon, in steps of 1 / 65536; epsilon
    (half of the paper's) is narrowed where that would leave [0, 1]. Kept entries are nested over densities.

    Args:
        delta: a block of whole rows.
        density: in (0, 1].
        epsilon: not negative.
        randomness, expert: of this block, and the expert's index there.
        divide: by the probability, so that the mean over seeds is the delta.
    """
    if density >= 1.0:
        return delta
    rows = delta if delta.dim() >= 2 else delta.reshape(1, -1)
    width = rows.shape[1]
    order = _ascending(rows)
    steps = torch.linspace(0.0, 1.0, width, dtype=delta.dtype) if width > 1 else torch.tensor([0.5], dtype=delta.dtype)
    steps = steps.to(delta.device).view(1, width, *(1,) * (rows.dim() - 2))
    rising = torch.empty_like(rows).scatter_(1, order, steps.expand_as(rows))  # 0 smallest, 1 largest of its row
    spread = min(epsilon, density, 1.0 - density)
    probability = rising.mul_(2.0 * spread).add_(density - spread)
    probability.mul_(LEVELS).round_().clamp_min_(1.0).div_(LEVELS)
    kept = rows * (randomness.uniform(expert, rows.shape).to(delta.device) < probability)
    return (kept.div_(probability) if divide else kept).reshape(delta.shape)


def _ascending(rows: Tensor) -> Tensor:
    """Indices that sort the magnitudes along dimension 1, equal ones by position."""
    if rows.dtype != torch.float32 or rows.device.type != "cpu":
        return rows.abs().argsort(dim=1, stable=True)
    # Magnitude and position as one integer: on a processor 20 times faster than a stable argsort.
    keys = rows.detach().abs().numpy().view(np.int32).astype(np.int64) << 32
    keys |= np.arange(rows.shape[1]).reshape(1, -1, *(1,) * (rows.dim() - 2))
    keys.sort(axis=1)
    keys &= 0xFFFFFFFF
    return torch.from_numpy(keys)


def _patterns(delta: Tensor) -> Tensor:
    """Bit patterns of |delta|, flat: non-negative integers in the order of the magnitudes."""
    return delta.detach().reshape(-1).abs().view(_INTEGERS[delta.dtype])


def _between(entries: Tensor, low: float, high: float) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Positions and values of the entries (flat) in [low, high)."""
    if entries.device.type != "cpu":  # few entries leave an accelerator, not all
        members = ((entries >= low) & (entries < high)).nonzero().squeeze(1)
        return members.cpu().numpy(), entries[members].cpu().numpy()
    array = entries.numpy()  # on a processor more than twice as fast as torch
    positions = np.flatnonzero((array >= low) & (array < high))
    return positions, array[positions]
