"""Find the k largest entries of a delta without sorting it, from a histogram that is built once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evomerge.errors import UserError

# The bit pattern of |d| orders non-negative floats. Its top bits (exponent and 8 of the mantissa, so that a bin spans
# 0.4 % and holds few entries of any ordinary tensor) are the bins of the histogram.
_TOP_SHIFT = {torch.float32: 15, torch.float64: 44}
_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


@dataclass(frozen=True)
class Cut:
    """The k largest entries: those above ``threshold``, and of those equal to it the ones up to ``last_tie``.

    ``last_tie`` is a flat position in the whole parameter; None: all equal entries belong.
    """

    threshold: float
    last_tie: int | None


@dataclass(frozen=True)
class MagnitudeIndex:
    """Histogram of a delta's magnitudes: it gives the k largest entries for every k in one further read.

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
            in_block = torch.bincount(_patterns(block) >> _TOP_SHIFT[dtype], minlength=len(counted)).cpu().numpy()
            in_block[: len(counted)] += counted
            counted = in_block
        occupied = np.flatnonzero(counted)[::-1]
        infinity = int(_patterns(torch.tensor([torch.inf], dtype=dtype))[0]) >> _TOP_SHIFT[dtype]
        if occupied[0] >= infinity:
            raise UserError("an expert's difference to the base must be finite, got NaN or infinity: a damaged file?")
        return cls(occupied.astype(np.int32), np.cumsum(counted[occupied]), dtype)

    def cut(self, blocks: Iterable[Tensor], k: int) -> Cut:
        """The k largest |d| of the indexed delta; of equal entries those that come first.

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
            members, magnitudes = _between(magnitude, low, high)
            values.append(magnitudes)
            positions.append(members + start)
            start += len(magnitude)
        candidates = np.concatenate(values)
        threshold = np.partition(candidates, len(candidates) - wanted)[len(candidates) - wanted]
        ties = np.concatenate(positions)[candidates == threshold]
        kept_ties = wanted - int(np.count_nonzero(candidates > threshold))
        return Cut(float(threshold), int(ties[kept_ties - 1]) if kept_ties < len(ties) else None)

    def _float(self, pattern: int) -> float:
        return float(torch.tensor(pattern, dtype=_INTEGERS[self.dtype]).view(self.dtype))


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
