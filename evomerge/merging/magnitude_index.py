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
_CHUNK = 1 << 20  # classes that are compared at a time: more would leave the cache
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
        at = self._bin_of(k)
        low, high = self._range(at)
        values, positions, start = [], [], 0
        for block in blocks:
            magnitude = block.detach().reshape(-1).abs()
            members, magnitudes = _between(magnitude, low, high)
            values.append(magnitudes)
            positions.append(members + start)
            start += len(magnitude)
        return self._cut_in(at, k, np.concatenate(positions), np.concatenate(values))

    def classes(self, blocks: Iterable[Tensor]) -> NDArray[np.uint8]:
        """Each entry's class, one byte an entry: 256 classes of neighbouring bins that hold about as many entries each.

        They are kept from candidate to candidate: :meth:`cut_among` reads the few entries of one class and not the
        whole delta.
        """
        of_pattern = np.zeros(int(self.bins[0]) + 1, np.uint8)
        of_pattern[self.bins] = self._classes
        found = np.empty(int(self.counts[-1]), np.uint8)
        start = 0
        for block in blocks:
            patterns = (_patterns(block) >> _TOP_SHIFT[self.dtype]).cpu().numpy()
            found[start : start + len(patterns)] = of_pattern[patterns]
            start += len(patterns)
        return found

    def members(self, classes: NDArray[np.uint8], k: int) -> NDArray[np.int64]:
        """Positions of the class in which the cut between the k largest entries and the rest lies."""
        wanted = self._classes[self._bin_of(k)]
        return np.concatenate(
            [
                np.flatnonzero(classes[start : start + _CHUNK] == wanted) + start
                for start in range(0, len(classes), _CHUNK)
            ]
        )

    def cut_among(self, positions: NDArray[np.int64], entries: Tensor, k: int) -> Cut:
        """As :meth:`cut`, from the entries at the positions that :meth:`members` gives."""
        at = self._bin_of(k)
        inside, magnitudes = _between(entries.detach().abs(), *self._range(at))
        return self._cut_in(at, k, positions[inside], magnitudes)

    def _bin_of(self, k: int) -> int:
        """Place in ``bins`` of the k-th largest entry."""
        return int(np.searchsorted(self.counts, k))

    @property
    def _classes(self) -> NDArray[np.uint8]:
        """Class of each occupied bin."""
        found: NDArray[np.uint8] = ((self.counts - 1) * 256 // self.counts[-1]).astype(np.uint8)
        return found

    def _range(self, at: int) -> tuple[float, float]:
        """Magnitudes of a bin. Floats, not bit patterns: two compares of a vector unit find the bin's members."""
        low, high = (self._float((int(self.bins[at]) + step) << _TOP_SHIFT[self.dtype]) for step in (0, 1))
        return low, high

    def _cut_in(self, at: int, k: int, positions: NDArray[np.int64], magnitudes: NDArray[Any]) -> Cut:
        """The cut, from the positions and magnitudes of all members of the bin in which it lies."""
        wanted = k - (int(self.counts[at - 1]) if at else 0)
        threshold = np.partition(magnitudes, len(magnitudes) - wanted)[len(magnitudes) - wanted]
        ties = positions[magnitudes == threshold]
        kept_ties = wanted - int(np.count_nonzero(magnitudes > threshold))
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
