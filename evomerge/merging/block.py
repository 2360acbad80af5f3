"""One parameter of the base and all experts, read in blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from evomerge.merging.sparsify import Cut, MagnitudeIndex


@dataclass(frozen=True)
class Block:
    """Consecutive rows (entries of the first dimension) of one parameter.

    Attributes:
        start: flat position in the parameter of the block's first entry.
        base: shape (n, *rest); None where there is no base.
        experts: shape (T, n, *rest): deltas or parameters, as the method takes them.
    """

    start: int
    base: Tensor | None
    experts: Tensor


class View(Protocol):
    """One parameter, as often as a method needs to read it.

    Parameters of fewer than two dimensions are one block, so statistics along the last dimension always see whole
    rows. All tensors are float32, or float64 where an input is.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def experts(self) -> int: ...

    def blocks(self) -> Iterator[Block]:
        """All blocks, in order."""
        ...

    def cut(self, expert: int, k: int) -> Cut | None:
        """What separates the k largest |delta| of this expert from the rest; None when all are kept."""
        ...


class Magnitudes:
    """What is known of one delta's magnitudes: its index and the cuts made so far. Kept from candidate to candidate."""

    def __init__(self) -> None:
        self._index: MagnitudeIndex | None = None
        self._cuts: dict[int, Cut] = {}

    def cut(self, blocks: Callable[[], Iterable[Tensor]], k: int) -> Cut:
        """The k largest, see :meth:`MagnitudeIndex.cut`; the blocks are read only when this is new."""
        if k not in self._cuts:
            if self._index is None:
                self._index = MagnitudeIndex.build(blocks())
            self._cuts[k] = self._index.cut(blocks(), k)
        return self._cuts[k]


@dataclass(frozen=True)
class InMemoryView:
    """A parameter whose tensors are at hand.

    Attributes:
        base: any shape S, or None.
        stack: shape (T, *S).
        rows: rows to a block; default: everything is one block.
        known: what is kept of each expert's delta, when somebody keeps it.
    """

    base: Tensor | None
    stack: Tensor
    rows: int | None = None
    known: Sequence[Magnitudes] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.stack.shape[1:])

    @property
    def experts(self) -> int:
        return len(self.stack)

    def blocks(self) -> Iterator[Block]:
        if self.rows is None or len(self.shape) < 2:
            yield Block(0, self.base, self.stack)
            return
        size = math.prod(self.shape[1:])
        for row in range(0, self.shape[0], self.rows):
            part = slice(row, row + self.rows)
            yield Block(row * size, None if self.base is None else self.base[part], self.stack[:, part])

    def cut(self, expert: int, k: int) -> Cut | None:
        if k >= self.stack[expert].numel():
            return None
        known = self.known[expert] if self.known else Magnitudes()
        return known.cut(lambda: (block.experts[expert] for block in self.blocks()), k)
