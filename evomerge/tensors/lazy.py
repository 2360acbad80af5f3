"""Lazy matrices, whose rows are computed when they are read: parameters, deltas, sums and differences.

Other modules define the kinds for their data: :class:`evomerge.weights.checkpoint.Stored` for a parameter in a file,
:class:`evomerge.weights.adapters.dense_delta.DenseDelta` for an adapter with more than LoRA matrices, and
:class:`evomerge.weights.tokenizers.vocabulary.PermutedRows` for an embedding in another vocabulary.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Entries in a block: on a processor, few enough for its cache; on an accelerator, many, so that kernels are few.
BLOCK = {"cpu": 1 << 17}
_LARGE_BLOCK = 1 << 24


class LazyMatrix(ABC):
    """A parameter of any number of dimensions, read by rows (indices of its first dimension)."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]: ...

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """Dtype of :meth:`rows`."""

    @abstractmethod
    def fill(self, out: Tensor, start: int, stop: int) -> None:
        """Write rows ``start`` to ``stop``, or a whole scalar, to ``out``, in its dtype and on its device."""

    def rows(self, start: int, stop: int) -> Tensor:
        """Rows ``start`` to ``stop``, or a whole scalar; the caller must not write to them."""
        out = torch.empty((stop - start, *self.shape[1:]) if self.shape else (), dtype=self.dtype)
        self.fill(out, start, stop)
        return out

    def entries(self, positions: Tensor) -> Tensor | None:
        """Entries at these flat positions (int64), to the bit those of :meth:`rows`, on the processor: they are few.
        None for a matrix whose single entries cost about as much as its rows."""
        return None

    @property
    def parts(self) -> tuple[LazyMatrix, ...]:
        """Matrices that this one is computed from."""
        return ()

    @property
    def origin(self) -> str:
        """Folder or file of the model that the matrix is read from, for errors."""
        return next((part.origin for part in self.parts), "a model")

    def release(self) -> None:
        """Release the mapped pages behind this matrix; a later read loads them again."""
        for part in self.parts:
            part.release()


@dataclass(frozen=True, eq=False)
class InMemory(LazyMatrix):
    """A tensor in memory."""

    tensor: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape)

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype

    def rows(self, start: int, stop: int) -> Tensor:
        return self.tensor[start:stop] if self.tensor.ndim else self.tensor

    def fill(self, out: Tensor, start: int, stop: int) -> None:
        out.copy_(self.rows(start, stop))

    def entries(self, positions: Tensor) -> Tensor:
        return self.tensor.reshape(-1)[positions].cpu()


@dataclass(frozen=True, eq=False)
class LowRank(LazyMatrix):
    """A delta in factors, ``left @ right``.

    Attributes:
        left: LoRA's B times the scale, (m, r) float32.
        right: LoRA's A, (r, n) float32.
    """

    left: Tensor
    right: Tensor

    @property
    def rank(self) -> int:
        return self.left.shape[1]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (m, n)."""
        return self.left.shape[0], self.right.shape[1]

    @property
    def dtype(self) -> torch.dtype:
        return self.left.dtype

    def dense(self) -> Tensor:
        """The matrix (m, n), in the factors' dtype."""
        return self.left @ self.right

    def rows(self, start: int, stop: int) -> Tensor:
        return self.left[start:stop] @ self.right

    def fill(self, out: Tensor, start: int, stop: int) -> None:
        torch.mm(self.left[start:stop].to(out), self.right.to(out), out=out)

    def transposed(self) -> LowRank:
        """Factors of the transposed delta."""
        return LowRank(self.right.T.contiguous(), self.left.T.contiguous())


@dataclass(frozen=True, eq=False)
class Zeros(LazyMatrix):
    """The delta of an expert that does not change the parameter.

    Attributes:
        like: matrix of the same shape.
    """

    like: LazyMatrix

    @property
    def shape(self) -> tuple[int, ...]:
        return self.like.shape

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    def fill(self, out: Tensor, start: int, stop: int) -> None:
        out.zero_()


@dataclass(frozen=True, eq=False)
class Sum(LazyMatrix):
    """A base plus a delta, computed in float32 or float64, never whole in memory."""

    base: LazyMatrix
    delta: LazyMatrix

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    @property
    def dtype(self) -> torch.dtype:
        return _computed(self.base.dtype)

    @property
    def parts(self) -> tuple[LazyMatrix, ...]:
        return self.base, self.delta

    def fill(self, out: Tensor, start: int, stop: int) -> None:
        base = self.base.rows(start, stop).to(out)
        if isinstance(self.delta, LowRank):  # one pass
            torch.addmm(base, self.delta.left[start:stop].to(out), self.delta.right.to(out), out=out)
        else:
            self.delta.fill(out, start, stop)
            out.add_(base)


@dataclass(frozen=True, eq=False)
class Difference(LazyMatrix):
    """Rows of ``left`` minus those of ``right``, which may have fewer. Create it by :func:`difference`, which
    simplifies."""

    left: LazyMatrix
    right: LazyMatrix

    @property
    def shape(self) -> tuple[int, ...]:
        return self.right.shape

    @property
    def dtype(self) -> torch.dtype:
        return _computed(self.left.dtype, self.right.dtype)

    @property
    def parts(self) -> tuple[LazyMatrix, ...]:
        return self.left, self.right

    def fill(self, out: Tensor, start: int, stop: int) -> None:
        left, right = self.left.rows(start, stop).to(out.device), self.right.rows(start, stop).to(out.device)
        if torch.float64 in (left.dtype, right.dtype) and out.dtype != torch.float64:
            torch.sub(left, right, out=out)  # rounded once, after the difference
        else:  # two vectorised passes are faster than one in mixed dtypes, which fp8 does not have at all
            out.copy_(left).sub_(right.to(out))

    def entries(self, positions: Tensor) -> Tensor | None:
        left, right = self.left.entries(positions), self.right.entries(positions)
        return None if left is None or right is None else left.to(self.dtype).sub_(right.to(self.dtype))


class LastBlock(LazyMatrix):
    """A matrix in another dtype or on another device that keeps the rows read last, so that several sums share one
    read.

    It is not thread-safe.
    """

    def __init__(self, matrix: LazyMatrix, dtype: torch.dtype, device: torch.device) -> None:
        self._matrix, self._dtype, self._device = matrix, dtype, device
        self._span: tuple[int, int] | None = None
        self._block = torch.empty(0)

    @property
    def shape(self) -> tuple[int, ...]:
        return self._matrix.shape

    @property
    def dtype(self) -> torch.dtype:
        return self._dtype

    @property
    def parts(self) -> tuple[LazyMatrix, ...]:
        return (self._matrix,)

    def rows(self, start: int, stop: int) -> Tensor:
        if self._span != (start, stop):
            self._block = self._matrix.rows(start, stop).to(self._device, self._dtype)
            self._span = start, stop
        return self._block

    def fill(self, out: Tensor, start: int, stop: int) -> None:
        out.copy_(self.rows(start, stop))

    def entries(self, positions: Tensor) -> Tensor | None:
        found = self._matrix.entries(positions)
        return None if found is None else found.to(self._dtype)


def _computed(*dtypes: torch.dtype) -> torch.dtype:
    """Dtype for sums of matrices with these dtypes."""
    return torch.float64 if torch.float64 in dtypes else torch.float32


def difference(left: LazyMatrix, right: LazyMatrix) -> LazyMatrix:
    """``left - right``; of a sum minus its base this is the delta itself, without rounding."""
    if left == right:
        return Zeros(right)
    if isinstance(left, Sum) and left.base == right:
        return left.delta
    return Difference(left, right)


def rebased(matrix: LazyMatrix, base: LazyMatrix, other: LazyMatrix) -> LazyMatrix:
    """``matrix`` with ``other`` in the place of ``base``, if it is the base or a sum on the base."""
    if matrix == base:
        return other
    return Sum(other, matrix.delta) if isinstance(matrix, Sum) and matrix.base == base else matrix


def row_ranges(shape: tuple[int, ...], device: torch.device) -> Iterator[tuple[int, int]]:
    """Rows ``start`` and ``stop`` of every block; a parameter of fewer than two dimensions is one block."""
    if len(shape) < 2:
        yield 0, shape[0] if shape else 1
        return
    step = max(1, BLOCK.get(device.type, _LARGE_BLOCK) // max(1, math.prod(shape[1:])))
    for start in range(0, shape[0], step):
        yield start, min(start + step, shape[0])


def rows_of(tensor: Tensor, start: int, stop: int) -> Tensor:
    """Writable view of rows ``start`` to ``stop`` of a tensor; the tensor itself if it is a scalar."""
    return tensor[start:stop] if tensor.ndim else tensor


def dense(matrix: LazyMatrix, out: Tensor | None = None) -> Tensor:
    """All rows as one tensor, read in blocks that fit the cache.

    Args:
        out: tensor to write to; default: a new tensor of the matrix's dtype.
    """
    out = torch.empty(matrix.shape, dtype=matrix.dtype) if out is None else out
    for start, stop in row_ranges(matrix.shape, out.device):
        matrix.fill(rows_of(out, start, stop), start, stop)
    return out
