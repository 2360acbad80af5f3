"""Merge one parameter block by block, from the lazy matrices of the base and the experts.

This module never holds a whole parameter. A block has about 128 thousand entries, so that its temporaries stay in a
core's cache, and the memory of a merge depends neither on the size of the model nor on the number of experts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from evomerge.engine.check_finite import damaged, overflow
from evomerge.errors import UserError
from evomerge.merging.block import Block, Magnitudes
from evomerge.merging.magnitude_index import Cut
from evomerge.merging.randomness import Randomness
from evomerge.merging.registry import MergeMethod
from evomerge.tensors.lazy import LastBlock, LazyMatrix, LowRank, difference, rebased, row_ranges, rows_of
from evomerge.weights.tensor_files import all_finite


class OutputTensor(Protocol):
    """A parameter of the merged model."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> torch.dtype: ...

    @property
    def inputs(self) -> tuple[LazyMatrix, ...]:
        """Matrices that the parameter is read from."""
        ...

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        """First row and values of each block, in order, in ``dtype``. A block is valid until the caller takes the next.

        Raises:
            UserError: a value is NaN or infinite; the error names parameter and model.
        """
        ...


@dataclass(frozen=True)
class CopiedTensor:
    """A parameter copied with no change but its dtype."""

    name: str
    source: LazyMatrix
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    @property
    def inputs(self) -> tuple[LazyMatrix, ...]:
        return (self.source,)

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        for start, stop in row_ranges(self.shape, device):
            own = self.source.rows(start, stop)
            copied = own.to(self.dtype)
            if not all_finite(copied):
                if own.isnan().any():
                    raise damaged(self.source.origin, self.name)
                if all_finite(own):  # stored infinities stay: the tensor may be a mask
                    raise overflow(self.name, self.dtype)
            yield start, copied


@dataclass(frozen=True)
class FactoredTensor:
    """The base plus a low-rank delta."""

    name: str
    base: LazyMatrix
    factor: LowRank
    dtype: torch.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def inputs(self) -> tuple[LazyMatrix, ...]:
        return (self.base,)

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        left, right = self.factor.left.to(device), self.factor.right.to(device)
        for start, stop in row_ranges(self.shape, device):
            base = self.base.rows(start, stop).to(device, left.dtype)
            merged = torch.addmm(base, left[start:stop], right).to(self.dtype)
            if not all_finite(merged):
                raise overflow(self.name, self.dtype) if all_finite(base) else damaged(self.base.origin, self.name)
            yield start, merged


@dataclass(frozen=True)
class MergedTensor:
    """A parameter merged by a full-space method.

    Attributes:
        name: name of the output parameter; random masks depend on it.
        shape: shape of the output and of every input.
        base: the base's parameter; None for methods that need none.
        experts: the parameter of T experts; a sum of ``base`` and a delta is merged by the delta.
        expert_names: names of the experts; random masks depend on them.
        weights: weights of the experts, shape (T,), float64.
        parameters: parameters of the method.
        seed: seed of random masks.
        dtype: dtype of the output.
        work: dtype of the maths, float32 or float64.
        known: magnitudes of each expert's delta, kept from earlier candidates.
        sources: names of the experts in errors; default: ``expert_names``.
    """

    name: str
    shape: tuple[int, ...]
    base: LazyMatrix | None
    experts: tuple[LazyMatrix, ...]
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
    def inputs(self) -> tuple[LazyMatrix, ...]:
        return self.experts if self.base is None else (self.base, *self.experts)

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        parameter = _StreamedParameter(self, device)
        weights = torch.tensor(self.weights, dtype=self.work, device=device)
        merged = self.method.over(parameter, weights, **self.parameters)
        rounded = torch.empty(0, dtype=self.dtype, device=device)
        try:
            for (start, _), block in zip(row_ranges(self.shape, device), merged, strict=True):
                if rounded.shape != block.shape:  # only the last block needs another buffer
                    rounded = torch.empty(block.shape, dtype=self.dtype, device=device)
                rounded.copy_(block)
                if not all_finite(rounded):
                    raise overflow(self.name, self.dtype)
                yield start, rounded
        except UserError as error:  # also the method's errors: it cannot name the model whose values are damaged
            raise parameter.damage() or error from None


class _StreamedParameter:
    """The method's view of a parameter: blocks of memory-mapped rows."""

    def __init__(self, tensor: MergedTensor, device: torch.device) -> None:
        self._tensor, self._device = tensor, device
        self._known = tensor.known or tuple(Magnitudes() for _ in tensor.experts)
        self._base: LastBlock | None = None
        self._models, self._deltas = tensor.experts, tensor.experts
        if tensor.base is not None:  # the experts' sums and differences share one read of the base
            base = self._base = LastBlock(tensor.base, tensor.work, device)
            self._models = tuple(rebased(expert, tensor.base, base) for expert in tensor.experts)
            self._deltas = tuple(difference(model, base) for model in self._models)

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
        width, stack = math.prod(self.shape[1:]), None
        experts = self._deltas if self._tensor.method.inputs == "deltas" else self._models
        for start, stop in row_ranges(self.shape, self._device):
            base = None if self._base is None else self._base.rows(start, stop)
            shape = (stop - start, *self.shape[1:]) if self.shape else ()
            if stack is None or stack.shape[1:] != shape:  # only the last block needs another buffer
                stack = torch.empty((self.experts, *shape), dtype=self._tensor.work, device=self._device)
            for row, expert in zip(stack, experts, strict=True):
                expert.fill(row, start, stop)
            yield Block(start * width, base, stack)

    def cut(self, expert: int, k: int) -> Cut | None:
        if k >= math.prod(self.shape):
            return None
        return self._known[expert].cut(lambda: self._delta_blocks(expert), k, self._deltas[expert].entries)

    def damage(self) -> UserError | None:
        """The error for the first input with NaN or infinity, the base before the experts; None if all are finite."""
        tensor = self._tensor
        base, ranges = tensor.base, row_ranges(self.shape, self._device)
        if base is not None and not all(all_finite(base.rows(*rows)) for rows in ranges):
            return damaged(base.origin, tensor.name)
        called = tensor.sources or tuple(f"expert '{name}'" for name in tensor.expert_names)
        # experts of weight 0 last: few methods look at them
        for expert in sorted(range(self.experts), key=lambda expert: tensor.weights[expert] == 0.0):
            if not all(all_finite(delta) for delta in self._delta_blocks(expert)):
                return damaged(called[expert], tensor.name)
        return None

    def _delta_blocks(self, expert: int) -> Iterator[torch.Tensor]:
        """Blocks of one expert's delta; without a base, of its parameter."""
        for start, stop in row_ranges(self.shape, self._device):
            shape = (stop - start, *self.shape[1:]) if self.shape else ()
            delta = torch.empty(shape, dtype=self._tensor.work, device=self._device)
            self._deltas[expert].fill(delta, start, stop)
            yield delta


def whole(tensor: OutputTensor, device: torch.device | None = None) -> torch.Tensor:
    """The merged parameter in one piece."""
    device = device or torch.device("cpu")
    out = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    for start, block in tensor.blocks(device):
        put(out, start, block)
    return out


def release(tensor: OutputTensor) -> None:
    """Release the mapped pages that a finished tensor was read from."""
    for matrix in tensor.inputs:
        matrix.release()


def put(out: torch.Tensor, start: int, block: torch.Tensor) -> None:
    """Write a block to its rows of ``out``."""
    rows_of(out, start, start + len(block) if out.ndim else 1).copy_(block)
