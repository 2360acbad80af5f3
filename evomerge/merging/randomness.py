"""Draw random masks that depend on names only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# 16 bits decide about an entry: a quarter of the cost of drawing floats, and far finer than any searched density.
LEVELS = 1 << 16
# Philox gives four 64-bit words a count: 16 entries.
_ENTRIES_A_COUNT = 16


@dataclass(frozen=True)
class Randomness:
    """Random numbers of one block of a parameter tensor: a function of (seed, expert name, tensor name, position).

    Neither the device, nor the order of experts or tensors, nor which others exist, nor how the tensor is cut into
    blocks changes them.

    Attributes:
        start: flat position of the block's first entry in the parameter.
    """

    seed: int
    experts: tuple[str, ...]
    tensor: str
    start: int = 0

    def at(self, start: int) -> Randomness:
        """The same for the block that begins at this position."""
        return replace(self, start=start) if start != self.start else self

    def mask(self, expert: int, shape: tuple[int, ...] | torch.Size, density: float) -> Tensor:
        """Bool of ``shape`` for the expert at this index: true with probability :func:`rounded_density` of ``density``.

        An entry is true where its uniform number is below the density, so masks are nested over densities.
        """
        below = self._levels(expert, shape) <= round(rounded_density(density) * LEVELS) - 1
        return torch.from_numpy(below).view(tuple(shape))

    def uniform(self, expert: int, shape: tuple[int, ...] | torch.Size) -> Tensor:
        """Float32 of ``shape`` in (0, 1), multiples of 1 / 131072, the numbers that :meth:`mask` compares."""
        levels = self._levels(expert, shape).astype(np.float32)
        return torch.from_numpy((levels + np.float32(0.5)) / np.float32(LEVELS)).view(tuple(shape))

    def _levels(self, expert: int, shape: tuple[int, ...] | torch.Size) -> NDArray[np.uint16]:
        text = f"{self.seed}\0{self.experts[expert]}\0{self.tensor}"
        key = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype="<u8")
        skipped, offset = divmod(self.start, _ENTRIES_A_COUNT)
        count = offset + int(np.prod(shape, dtype=np.int64))
        words = np.random.Philox(key=key, counter=skipped).random_raw(-(-count // 4))
        levels: NDArray[np.uint16] = words.astype("<u8", copy=False).view("<u2")[offset:count]
        return levels


def rounded_density(density: float) -> float:
    """The density that a mask of this density has: the nearest multiple of 1 / 65536, at least one."""
    return max(1, round(density * LEVELS)) / LEVELS
