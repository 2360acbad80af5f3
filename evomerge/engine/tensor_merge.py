"""One output parameter: where its rows come from, and how they become the merged rows. Block by block.

Nothing here holds a whole parameter: a block is about 64 thousand entries, so that its temporaries stay in a core's
cache and the memory of a merge does not depend on the size of the model or the number of experts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from evomerge.merging.base import MergeMethod
from evomerge.merging.randomness import Randomness
from evomerge.merging.sparsify import Cut
from evomerge.merging.view import Block, Magnitudes
from evomerge.weights.adapter import LowRank
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import TaskVector
from evomerge.weights.vocabulary import PermutedRows, RowSource

# Entries to a block. A processor works from its cache; an accelerator wants few, large kernels.
_BLOCK = {"cpu": 1 << 16}
_LARGE_BLOCK = 1 << 24


class Rows(Protocol):
    """A parameter of some model, read by rows of its first dimension."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Entries ``start`` to ``stop`` of dimension 0, not to be written to; a scalar is given whole."""
        ...


@dataclass(frozen=True)
class CheckpointRows:
    """A parameter as it lies in a checkpoint."""

    checkpoint: Checkpoint
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.checkpoint.shape(self.name)

    @property
    def dtype(self) -> torch.dtype:
        return self.checkpoint.dtype(self.name)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return self.checkpoint.rows(self.name, start, stop)


@dataclass(frozen=True)
class AdaptedRows:
    """A parameter with a LoRA added: exact in float32, never built whole."""

    under: Rows
    factor: LowRank

    @property
    def shape(self) -> tuple[int, ...]:
        return self.under.shape

    @property
    def dtype(self) -> torch.dtype:
        return torch.promote_types(self.under.dtype, torch.float32)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        under = self.under.rows(start, stop).to(self.dtype)
        return torch.addmm(under, self.factor.left[start:stop].to(self.dtype), self.factor.right.to(self.dtype))


@dataclass(frozen=True)
class DeltaRows:
    """A parameter with an adapter added that has no factors for it (DoRA, saved modules)."""

    under: Rows
    vector: TaskVector
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.under.shape

    @property
    def dtype(self) -> torch.dtype:
        return torch.promote_types(self.under.dtype, torch.float32)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return self.under.rows(start, stop).to(self.dtype) + self.vector.rows(self.name, start, stop)


class ExpertRows(Protocol):
    """One expert's share in a parameter, relative to the merge's base or by itself."""

    def fill(self, out: torch.Tensor, start: int, stop: int, base: torch.Tensor | None, delta: bool) -> None:
        """Write rows ``start`` to ``stop`` to ``out``: expert minus base when ``delta``, else the expert's own."""
        ...


@dataclass(frozen=True)
class FullExpert:
    """An expert with parameters of its own."""

    source: Rows

    def fill(self, out: torch.Tensor, start: int, stop: int, base: torch.Tensor | None, delta: bool) -> None:
        own = self.source.rows(start, stop).to(out.device)
        if delta and base is not None:
            torch.sub(own, base, out=out)  # one pass: the sum is in the wider dtype, float32
        else:
            out.copy_(own)


@dataclass(frozen=True)
class LowRankExpert:
    """A LoRA on the merge's base."""

    factor: LowRank

    def fill(self, out: torch.Tensor, start: int, stop: int, base: torch.Tensor | None, delta: bool) -> None:
        torch.mm(self.factor.left[start:stop].to(out), self.factor.right.to(out), out=out)
        if not delta:
            assert base is not None
            out.add_(base)


@dataclass(frozen=True)
class DeltaExpert:
    """An expert that is known by its difference to the merge's base."""

    vector: TaskVector
    name: str

    def fill(self, out: torch.Tensor, start: int, stop: int, base: torch.Tensor | None, delta: bool) -> None:
        out.copy_(self.vector.rows(self.name, start, stop))
        if not delta:
            assert base is not None
            out.add_(base)


@dataclass(frozen=True)
class UnchangedExpert:
    """An expert that leaves this parameter of the base alone."""

    def fill(self, out: torch.Tensor, start: int, stop: int, base: torch.Tensor | None, delta: bool) -> None:
        if delta:
            out.zero_()
        else:
            assert base is not None
            out.copy_(base)


class OutputTensor(Protocol):
    """A parameter of the merged model."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        """First row and values of each block, in order, in ``dtype``. A block is valid until the next is asked for."""
        ...


@dataclass(frozen=True)
class CopiedTensor:
    """A parameter taken over as it is, but for its dtype."""

    name: str
    source: Rows
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        for start, stop in row_ranges(self.shape, device):
            yield start, self.source.rows(start, stop).to(self.dtype)


@dataclass(frozen=True)
class FactoredTensor:
    """The base plus a low-rank delta."""

    name: str
    base: Rows
    factor: LowRank
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        left, right = self.factor.left.to(device), self.factor.right.to(device)
        for start, stop in row_ranges(self.shape, device):
            base = self.base.rows(start, stop).to(device, left.dtype)
            yield start, torch.addmm(base, left[start:stop], right).to(self.dtype)


@dataclass(frozen=True)
class MergedTensor:
    """A parameter merged by a full-space method.

    Attributes:
        name: of the output parameter; masks are drawn for it.
        shape: of the output and of every input.
        base: None for methods that need none.
        experts: T experts.
        expert_names: their names, which masks are drawn for.
        weights: shape (T,), float64.
        parameters: of the method.
        seed: of random masks.
        dtype: of the output; the maths is in float32, or float64 where ``work`` says so.
        work: dtype of the maths.
        known: what is known of each expert's delta from earlier candidates.
    """

    name: str
    shape: tuple[int, ...]
    base: Rows | None
    experts: tuple[ExpertRows, ...]
    expert_names: tuple[str, ...]
    method: MergeMethod
    weights: tuple[float, ...]
    parameters: Mapping[str, Any]
    seed: int
    dtype: torch.dtype
    work: torch.dtype = torch.float32
    known: tuple[Magnitudes, ...] = field(default=(), compare=False)

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        view = _RowsView(self, device)
        weights = torch.tensor(self.weights, dtype=self.work, device=device)
        randomness = Randomness(self.seed, self.expert_names, self.name)
        merged = self.method.over(view, weights, randomness, **self.parameters)
        for (start, _), block in zip(row_ranges(self.shape, device), merged, strict=True):
            yield start, block.to(self.dtype)


class _RowsView:
    """A view of memory-mapped rows; a block is valid until the next is asked for."""

    def __init__(self, tensor: MergedTensor, device: torch.device) -> None:
        self._tensor = tensor
        self._device = device
        self._known = tensor.known or tuple(Magnitudes() for _ in tensor.experts)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._tensor.shape

    @property
    def experts(self) -> int:
        return len(self._tensor.experts)

    def blocks(self) -> Iterator[Block]:
        tensor, width = self._tensor, math.prod(self.shape[1:])
        stack = None
        for start, stop in row_ranges(self.shape, self._device):
            base = self._base(start, stop)
            shape = (stop - start, *self.shape[1:]) if self.shape else ()
            if stack is None or stack.shape[1:] != shape:  # one buffer serves all blocks but the last
                stack = torch.empty((self.experts, *shape), dtype=tensor.work, device=self._device)
            for row, expert in zip(stack, tensor.experts, strict=True):
                expert.fill(row, start, stop, base, tensor.method.inputs == "deltas")
            yield Block(start * width, base, stack)

    def cut(self, expert: int, k: int) -> Cut | None:
        if k >= math.prod(self.shape):
            return None
        return self._known[expert].cut(lambda: self._deltas(expert), k)

    def _deltas(self, expert: int) -> Iterator[torch.Tensor]:
        """Blocks of one expert's delta."""
        source = self._tensor.experts[expert]
        lone = not isinstance(source, FullExpert)  # the others know their delta without the base
        for start, stop in row_ranges(self.shape, self._device):
            shape = (stop - start, *self.shape[1:]) if self.shape else ()
            delta = torch.empty(shape, dtype=self._tensor.work, device=self._device)
            source.fill(delta, start, stop, None if lone else self._base(start, stop), True)
            yield delta

    def _base(self, start: int, stop: int) -> torch.Tensor | None:
        if self._tensor.base is None:
            return None
        return self._tensor.base.rows(start, stop).to(self._device, self._tensor.work)


def row_ranges(shape: tuple[int, ...], device: torch.device) -> Iterator[tuple[int, int]]:
    """First and last-plus-one row of every block; a parameter of fewer than two dimensions is one block."""
    if len(shape) < 2:
        yield 0, shape[0] if shape else 1
        return
    step = max(1, _BLOCK.get(device.type, _LARGE_BLOCK) // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])


def whole(tensor: OutputTensor, device: torch.device | None = None) -> torch.Tensor:
    """The merged parameter in one piece."""
    device = device or torch.device("cpu")
    out = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    for start, block in tensor.blocks(device):
        put(out, start, block)
    return out


def release(tensor: OutputTensor) -> None:
    """Let the mapped pages that a finished tensor was read from leave this process's memory."""
    match tensor:
        case CopiedTensor():
            _release(tensor.source)
        case FactoredTensor():
            _release(tensor.base)
        case MergedTensor():
            _release(tensor.base)
            for expert in tensor.experts:
                if isinstance(expert, FullExpert):
                    _release(expert.source)
        case _ if isinstance(under := getattr(tensor, "under", None), MergedTensor):
            release(under)


def _release(rows: RowSource | None) -> None:
    match rows:
        case CheckpointRows():
            rows.checkpoint.release(rows.name)
        case AdaptedRows() | DeltaRows():
            _release(rows.under)
        case PermutedRows():
            for source in rows.sources:
                _release(source)


def put(out: torch.Tensor, start: int, block: torch.Tensor) -> None:
    """Write a block to its rows of ``out``."""
    (out.narrow(0, start, len(block)) if out.ndim else out).copy_(block)
