"""Random masks that depend on names only."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# 16 bits decide about an entry: a quarter of the cost of drawing floats, and far finer than any searched density.
LEVELS = 1 << 16


@dataclass(frozen=True)
class Randomness:
    """Random masks of one parameter tensor: a function of (seed, expert name, tensor name) and nothing else.

    Neither the device, nor the order of experts or tensors, nor which others exist changes them.
    """

    seed: int
    experts: tuple[str, ...]
    tensor: str

    def mask(self, expert: int, shape: tuple[int, ...] | torch.Size, density: float) -> Tensor:
        """Bool of ``shape`` for the expert at this index: true with probability :func:`share` of ``density``.

        Position i is true where its uniform number is below the density, so masks are nested over densities.
        """
        text = f"{self.seed}\0{self.experts[expert]}\0{self.tensor}"
        key = np.frombuffer(hashlib.sha256(text.encode()).digest()[:16], dtype="<u8")
        count = int(np.prod(shape, dtype=np.int64))
        words = np.random.Philox(key=key).random_raw(-(-count // 4))
        uniform = words.astype("<u8", copy=False).view("<u2")[:count]
        return torch.from_numpy(uniform <= round(share(density) * LEVELS) - 1).view(tuple(shape))


def share(density: float) -> float:
    """The density that a mask really has: the nearest multiple of 1 / 65536, at least one."""
    return max(1, round(density * LEVELS)) / LEVELS
