"""One output parameter: how the rows it comes from become the merged rows. Block by block.

Nothing here holds a whole parameter: a block is about 128 thousand entries, so that its temporaries stay in a core's
cache and the memory of a merge does not depend on the size of the model or the number of experts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from evomerge.engine.check_finite import damaged, overflow
from evomerge.engine.dense.rows import ExpertRows, FullExpert, Rows, origin, release_rows
from evomerge.errors import UserError
from evomerge.merging.block import Block, Magnitudes
from evomerge.merging.magnitude_index import Cut
from evomerge.merging.randomness import Randomness
from evomerge.merging.registry import MergeMethod
from evomerge.weights.adapters.adapter import LowRank
from evomerge.weights.tensor_files import all_finite

# Entries to a block. A processor works from its cache; an accelerator wants few, large kernels.
_BLOCK = {"cpu": 1 << 17}
_LARGE_BLOCK = 1 << 24


class OutputTensor(Protocol):
    """A parameter of the merged model."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def inputs(self) -> tuple[Rows, ...]:
        """What it is read from."""
        ...

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        """First row and values of each block, in order, in ``dtype``. A block is valid until the next is asked for.

        Raises:
            UserError: a value is NaN or infinite; names parameter and model.
        """
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

    @property
    def inputs(self) -> tuple[Rows, ...]:
        return (self.source,)

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        for start, stop in row_ranges(self.shape, device):
            own = self.source.rows(start, stop)
            copied = own.to(self.dtype)
            if not all_finite(copied):
                if own.isnan().any():
                    raise damaged(origin(self.source), self.name)
                if all_finite(own):  # infinities of its own may be meant: a mask
                    raise overflow(self.name, self.dtype)
            yield start, copied


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

    @property
    def inputs(self) -> tuple[Rows, ...]:
        return (self.base,)

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        left, right = self.factor.left.to(device), self.factor.right.to(device)
        for start, stop in row_ranges(self.shape, device):
            base = self.base.rows(start, stop).to(device, left.dtype)
            merged = torch.addmm(base, left[start:stop], right).to(self.dtype)
            if not all_finite(merged):
                raise overflow(self.name, self.dtype) if all_finite(base) else damaged(origin(self.base), self.name)
            yield start, merged


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
        sources: what errors call the experts; default: their names.
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
    sources: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[Rows, ...]:
        base = () if self.base is None else (self.base,)
        return base + tuple(expert.source for expert in self.experts if isinstance(expert, FullExpert))

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        parameter = _StreamedParameter(self, device)
        weights = torch.tensor(self.weights, dtype=self.work, device=device)
        merged = self.method.over(parameter, weights, **self.parameters)
        rounded = torch.empty(0, dtype=self.dtype, device=device)
        try:
            for (start, _), block in zip(row_ranges(self.shape, device), merged, strict=True):
                if rounded.shape != block.shape:  # one buffer serves all blocks but the last
                    rounded = torch.empty(block.shape, dtype=self.dtype, device=device)
                rounded.copy_(block)
                if not all_finite(rounded):
                    raise overflow(self.name, self.dtype)
                yield start, rounded
        except UserError as error:  # the method's own, too: it may have met what it cannot name
            raise parameter.damage() or error from None


class _StreamedParameter:
    """What the method reads: blocks of memory-mapped rows."""

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

    @property
    def randomness(self) -> Randomness:
        return Randomness(self._tensor.seed, self._tensor.expert_names, self._tensor.name)

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

    def damage(self) -> UserError | None:
        """What to say of the first input that is not finite, the base before the experts; None: all are."""
        tensor = self._tensor
        base, ranges = tensor.base, row_ranges(self.shape, self._device)
        if base is not None and not all(all_finite(base.rows(*rows)) for rows in ranges):
            return damaged(origin(base), tensor.name)
        called = tensor.sources or tuple(f"expert '{name}'" for name in tensor.expert_names)
        # those of weight 0 last: few methods look at them
        for expert in sorted(range(self.experts), key=lambda expert: tensor.weights[expert] == 0.0):
            if not all(all_finite(delta) for delta in self._deltas(expert)):
                return damaged(called[expert], tensor.name)
        return None

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
    for rows in tensor.inputs:
        release_rows(rows)


def put(out: torch.Tensor, start: int, block: torch.Tensor) -> None:
    """Write a block to its rows of ``out``."""
    (out.narrow(0, start, len(block)) if out.ndim else out).copy_(block)
