"""What an adapter is extracted from: the difference to the base, one parameter after another."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping
from typing import Protocol

import torch

from evomerge.errors import UserError
from evomerge.weights.adapters.adapter import LowRank
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.parameter_names import is_vocabulary
from evomerge.weights.task_vector import LowRankTaskVector, TaskVector

_SAMPLES = 4  # matrices that are compared to tell a wrong base,
_ROWS = 64  # and about so many rows of each
_BLOCK = 1 << 18  # entries worked on together: they stay in the cache
_RELATED = 0.1  # cosine; fine-tunes have more than 0.9, models trained apart about 0


class Buffers(threading.local):
    """Each thread's memory for a matrix of each shape: fresh memory for every one costs more than the subtraction."""

    def __init__(self) -> None:
        self.of: dict[tuple[int, ...], torch.Tensor] = {}


class Difference:
    """A dense change of one parameter, formed when it is asked for."""

    def __init__(self, before: torch.Tensor, after: torch.Tensor, buffers: Buffers) -> None:
        self._before, self._after, self._buffers = before, after, buffers

    def energy(self) -> float:
        """Squared Frobenius norm."""
        total = 0.0
        for before, after in _blocks(self._before, self._after):
            part = after.float() - before
            total += float(torch.dot(part, part))
        return total

    def dense(self) -> torch.Tensor:
        """The change in float32; may be written to. The thread's next one of this shape reuses the memory."""
        shape = tuple(self._before.shape)
        if shape not in self._buffers.of:
            self._buffers.of[shape] = torch.empty(shape)
        whole = self._buffers.of[shape]
        for part, before, after in _blocks(whole, self._before, self._after):
            part.copy_(after).sub_(before)
        return whole


class Deltas(Protocol):
    """A model as its difference to ``base``; can be read as often as needed."""

    @property
    def base(self) -> Checkpoint: ...

    @property
    def names(self) -> tuple[str, ...]:
        """The base's parameters that may differ, in the order of :meth:`read`."""
        ...

    @property
    def modules(self) -> Mapping[str, str]:
        """Parameter name -> PEFT's module path, where it is known."""
        ...

    def read(self, only: Collection[str] | None = None) -> Iterator[tuple[str, Difference | LowRank]]:
        """Changes of all parameters, or ``only`` of some."""
        ...

    def added_rows(self, name: str) -> torch.Tensor | None:
        """Rows of a vocabulary matrix beyond the base's, float32."""
        ...


class CheckpointDeltas:
    """A full checkpoint minus its base. Vocabulary matrices may have more rows than the base's.

    Raises:
        UserError: the checkpoint has other parameters or shapes than the base, or its weights have nothing in common
            with the base's.
    """

    def __init__(self, base: Checkpoint, model: Checkpoint) -> None:
        self.base, self._model = base, model
        self.modules: Mapping[str, str] = {}
        for name in base.names:
            if name not in model:
                raise self._other_base(f"it has no parameter '{name}'")
            own, wanted = model.shape(name), base.shape(name)
            longer = is_vocabulary(name) and own[1:] == wanted[1:] and own[0] > wanted[0]
            if own != wanted and not longer:
                raise self._other_base(f"'{name}' has shape {list(own)}, the base has {list(wanted)}")
        extra = [name for name in model.names if name not in base]
        if extra:
            raise self._other_base(f"its parameter '{extra[0]}' is not in the base")
        self._check_related()

    @property
    def names(self) -> tuple[str, ...]:
        return self.base.names

    def read(self, only: Collection[str] | None = None) -> Iterator[tuple[str, Difference | LowRank]]:
        buffers = Buffers()
        for name in self.names:
            before = self.base[name]
            if before.is_floating_point() and (only is None or name in only):
                after = self._model[name]
                yield name, Difference(before, after[: len(before)] if before.ndim else after, buffers)

    def added_rows(self, name: str) -> torch.Tensor | None:
        rows = self.base.shape(name)[0] if is_vocabulary(name) else 0
        return self._model[name][rows:].float() if rows and self._model.shape(name)[0] > rows else None

    def _check_related(self) -> None:
        matrices = [n for n in self.base.names if len(self.base.shape(n)) == 2 and not is_vocabulary(n)]
        for name in matrices[:: max(1, len(matrices) // _SAMPLES)][:_SAMPLES]:
            some = slice(None, None, max(1, self.base.shape(name)[0] // _ROWS))
            before, after = self.base[name][some].float(), self._model[name][some].float()
            cosine = torch.nn.functional.cosine_similarity(before.flatten(), after.flatten(), dim=0)
            if cosine < _RELATED and before.any():
                raise self._other_base(f"'{name}' has nothing in common with the base's (cosine {float(cosine):.2f})")

    def _other_base(self, what: str) -> UserError:
        return UserError(
            f"{self._model.folder} was not fine-tuned from {self.base.folder}: {what}; name its own base (base=...)"
        )


class FactorDeltas:
    """Differences that are known in factors: an adapter's, or those of a merge in core space."""

    def __init__(self, base: Checkpoint, factors: Mapping[str, LowRank], modules: Mapping[str, str]) -> None:
        self.base, self.modules = base, modules
        self._factors = dict(sorted(factors.items()))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._factors)

    def read(self, only: Collection[str] | None = None) -> Iterator[tuple[str, Difference | LowRank]]:
        yield from ((name, factor) for name, factor in self._factors.items() if only is None or name in only)

    def added_rows(self, name: str) -> torch.Tensor | None:
        return None


def deltas_of_expert(base: Checkpoint, expert: Checkpoint | TaskVector) -> Deltas:
    """Differences of a fine-tune: a full checkpoint, or an adapter's task vector."""
    if isinstance(expert, Checkpoint):
        return CheckpointDeltas(base, expert)
    assert isinstance(expert, LowRankTaskVector), "a full expert comes as its checkpoint"
    return FactorDeltas(base, expert.factors, expert.modules)


def _blocks(*tensors: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Tensors of one shape as flat runs of entries."""
    flat = [tensor.reshape(-1) for tensor in tensors]
    for start in range(0, flat[0].numel(), _BLOCK):
        yield tuple(tensor[start : start + _BLOCK] for tensor in flat)
