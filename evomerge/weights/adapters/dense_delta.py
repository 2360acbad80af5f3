"""What an adapter that is more than a LoRA does to a parameter, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from evomerge.tensors.lazy import LazyMatrix
from evomerge.weights.adapters.updates import Update
from evomerge.weights.checkpoint import Stored

_NORM_ROWS = 4096


@dataclass(frozen=True, eq=False)
class DenseDelta(LazyMatrix):
    """Delta of a parameter that has no factors: DoRA, saved modules, biases.

    Attributes:
        base: the parameter without the adapter.
        update: what the adapter does to it.
    """

    base: Stored
    update: Update

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def parts(self) -> tuple[LazyMatrix, ...]:
        return (self.base,)

    def rows(self, start: int, stop: int) -> Tensor:
        old = self.base.rows(start, stop).float()
        new = self._directions(start, stop)
        if self.update.magnitude is not None:
            new = new * self._stretch(start, stop, new)
        delta = new - old
        return delta if self.update.shift is None else delta + self.update.shift[start:stop]

    def fill(self, out: Tensor, start: int, stop: int) -> None:
        out.copy_(self.rows(start, stop))

    def _directions(self, start: int, stop: int) -> Tensor:
        """Rows of the parameter with its replacement and factors, before DoRA's magnitudes."""
        replacement, factors = self.update.replacement, self.update.factors
        value = (self.base.rows(start, stop) if replacement is None else replacement[start:stop]).float()
        return value if factors is None else value + factors.rows(start, stop)

    def _stretch(self, start: int, stop: int, rows: Tensor) -> Tensor:
        """DoRA's magnitude over the norm, shaped to multiply ``rows`` (arXiv:2402.09353, eq. 5)."""
        assert self.update.magnitude is not None
        if self.update.by_column:
            return self._column_stretch
        norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
        return (self.update.magnitude[start:stop] / norms).unsqueeze(1)

    @cached_property
    def _column_stretch(self) -> Tensor:
        """A column's norm needs all rows: read once, some rows at a time."""
        assert self.update.magnitude is not None
        length, width = self.shape
        squares = torch.zeros(width, dtype=torch.float64)
        for first in range(0, length, _NORM_ROWS):
            part = self._directions(first, min(first + _NORM_ROWS, length))
            squares += part.square().sum(dim=0, dtype=torch.float64)
        return self.update.magnitude / squares.sqrt().float()
