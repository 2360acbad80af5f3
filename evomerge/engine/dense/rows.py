"""Where a merge's numbers come from: parameters of models and experts, read by rows of their first dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch

from evomerge.weights.adapters.adapter import LowRank
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import TaskVector
from evomerge.weights.tokenizers.vocabulary import PermutedRows, RowSource


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
        if own.dtype.itemsize == 1:
            own = own.to(out.dtype)  # torch does no sums with fp8
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


def origin(rows: RowSource) -> str:
    """The folder or file of the model that a parameter is read from, for errors."""
    match rows:
        case CheckpointRows():
            return str(rows.checkpoint.path)
        case AdaptedRows() | DeltaRows():
            return origin(rows.under)
        case PermutedRows():
            return origin(rows.sources[rows.model])
    return "a model"


def release_rows(rows: RowSource) -> None:
    """Let the mapped pages behind a parameter leave this process's memory; they are read again when touched."""
    match rows:
        case CheckpointRows():
            rows.checkpoint.release(rows.name)
        case AdaptedRows() | DeltaRows():
            release_rows(rows.under)
        case PermutedRows():
            for source in rows.sources:
                release_rows(source)
