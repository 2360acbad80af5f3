"""What a merge method reads: one parameter of the base and of all experts, in blocks of rows."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evomerge.merging.magnitude_index import Cut, MagnitudeIndex
from evomerge.merging.randomness import Randomness

# An entry that is read by its position costs about as much as so many that are read in order.
_SCATTERED = 8


@dataclass(frozen=True)
class Block:
    """Consecutive rows (entries of the first dimension) of one parameter.

    Attributes:
        start: flat position in the parameter of the block's first entry.
        base: shape (n, *rest); None where there is no base.
        experts: shape (T, n, *rest): the experts' deltas, or their parameters where the method does not require a
            base.
    """

    start: int
    base: Tensor | None
    experts: Tensor

    def add_base(self, delta: Tensor | None) -> Tensor:
        """Base plus ``delta`` (n, *rest), which is overwritten; None: a copy of the base."""
        assert self.base is not None, "a method that adds to the base requires one"
        return self.base.clone() if delta is None else delta.add_(self.base)


class Parameter(Protocol):
    """One parameter of the base and of T experts. A method may read it as often as it needs.

    Parameters of fewer than two dimensions are one block, so statistics along the last dimension always see whole
    rows. All tensors are float32, or float64 where an input is.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def experts(self) -> int:
        """T."""
        ...

    @property
    def randomness(self) -> Randomness:
        """Random numbers of this parameter; ``randomness.at(block.start)`` gives those of a block."""
        ...

    def blocks(self) -> Iterator[Block]:
        """All blocks, in order. A block is valid until the next is asked for; it is not to be written to."""
        ...

    def cut(self, expert: int, k: int) -> Cut | None:
        """The cut between the k largest |delta| of this expert and the rest; None when all are kept."""
        ...


class Memory:
    """Bytes that may be kept for later candidates. Thread-safe.

    Args:
        size: all bytes together.
    """

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Reserve bytes for good; False, and nothing is reserved, where so many are not left."""
        with self._lock:
            taken = size <= self._left
            self._left -= size if taken else 0
        return taken


class Magnitudes:
    """What is kept of one delta from candidate to candidate: the histogram of its magnitudes, the cuts made so far, and
    one byte an entry where ``memory`` has room.

    Args:
        memory: shared by the deltas of a run.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        self._memory = memory or Memory(0)
        self._index: MagnitudeIndex | None = None
        self._classes: NDArray[np.uint8] | None = None
        self._cuts: dict[int, Cut] = {}

    def cut(
        self,
        blocks: Callable[[], Iterable[Tensor]],
        k: int,
        entries: Callable[[Tensor], Tensor | None] = lambda positions: None,
    ) -> Cut:
        """The k largest, see :meth:`MagnitudeIndex.cut`. All blocks are read only where the kept bytes do not help.

        Args:
            entries: gives the delta's entries at flat positions, or None.
        """
        if k not in self._cuts:
            self._cuts[k] = self._new_cut(blocks, k, entries)
        return self._cuts[k]

    def _new_cut(
        self, blocks: Callable[[], Iterable[Tensor]], k: int, entries: Callable[[Tensor], Tensor | None]
    ) -> Cut:
        if self._index is None:
            self._index = MagnitudeIndex.build(blocks())
            return self._index.cut(blocks(), k)
        index = self._index
        size = int(index.counts[-1])
        if self._classes is None and entries(torch.zeros(0, dtype=torch.int64)) is not None and self._memory.take(size):
            self._classes = index.classes(blocks())
        if self._classes is not None:
            members = index.members(self._classes, k)
            # a class of many equal entries: reading all in order is faster than reading many one by one
            if len(members) * _SCATTERED < size and (found := entries(torch.from_numpy(members))) is not None:
                return index.cut_among(members, found, k)
        return index.cut(blocks(), k)


@dataclass(frozen=True)
class InMemoryParameter:
    """A parameter whose tensors are in memory.

    Attributes:
        base: any shape S, or None.
        stack: shape (T, *S): deltas or parameters of the experts.
        randomness: of this parameter; the default serves methods that draw nothing.
        rows: rows of a block; default: everything is one block.
    """

    base: Tensor | None
    stack: Tensor
    randomness: Randomness = field(default=Randomness(0, (), ""))
    rows: int | None = None

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
        return Magnitudes().cut(lambda: (block.experts[expert] for block in self.blocks()), k)


def gather(parameter: Parameter) -> tuple[InMemoryParameter, Sequence[int]]:
    """A parameter as one block in memory, and the rows of each block that it had."""
    gathered: InMemoryParameter | None = None
    rows: list[int] = []
    for block in parameter.blocks():
        if len(parameter.shape) < 2:
            base = None if block.base is None else block.base.clone()
            return InMemoryParameter(base, block.experts.clone(), parameter.randomness), (1,)
        if gathered is None:
            base = None if block.base is None else block.base.new_empty(parameter.shape)
            stack = block.experts.new_empty((parameter.experts, *parameter.shape))
            gathered = InMemoryParameter(base, stack, parameter.randomness)
        part = slice(sum(rows), sum(rows) + block.experts.shape[1])
        gathered.stack[:, part] = block.experts
        if gathered.base is not None and block.base is not None:
            gathered.base[part] = block.base
        rows.append(block.experts.shape[1])
    assert gathered is not None, "a parameter has at least one block"
    return gathered, rows
