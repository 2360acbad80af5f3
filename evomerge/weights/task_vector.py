"""Expert minus base, one parameter at a time."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch

from evomerge.errors import UserError
from evomerge.weights.adapters.adapter import Adapter, LowRank
from evomerge.weights.adapters.updates import Update, updates_on
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.quantized import plain_checkpoint
from evomerge.weights.sources import resolve_weights
from evomerge.weights.tensor_files import equal_values

_NORM_ROWS = 4096
_log = logging.getLogger(__name__)


class TaskVector(Protocol):
    """What fine-tuning changed (arXiv:2212.04089), read lazily."""

    @property
    def names(self) -> tuple[str, ...]:
        """The base's parameters that differ, in alphabetical order."""
        ...

    def delta(self, name: str) -> torch.Tensor:
        """Expert minus base, float32, of the parameter's shape. ``name`` is one of ``names``."""
        ...

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Entries ``start`` to ``stop`` of dimension 0 of :meth:`delta`; the others are not computed."""
        ...

    def low_rank(self, name: str) -> LowRank | None:
        """The delta's factors, in the parameter's own orientation, where it has any."""
        ...


class LowRankTaskVector:
    """Task vector of a LoRA on linear layers, the kind that core space takes.

    Attributes:
        factors: parameter name -> factors.
        modules: parameter name -> PEFT's module path, for writing an adapter that fits the same model.
    """

    def __init__(self, factors: Mapping[str, LowRank], modules: Mapping[str, str]) -> None:
        self.factors = dict(sorted(factors.items()))
        self.modules = dict(modules)

    @classmethod
    def from_adapter(cls, adapter: Adapter, base: Checkpoint) -> LowRankTaskVector:
        """Checked against the base.

        Raises:
            UserError: a parameter does not fit, or the adapter is more than a LoRA on linear layers.
        """
        updates = updates_on(adapter, base)
        vector = _vector_of(updates, base)
        if isinstance(vector, MixedTaskVector):
            raise UserError(
                f"adapter {adapter.folder} is more than a LoRA on linear layers ({vector.beyond}): "
                "use a full-space method"
            )
        return vector

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.factors)

    def delta(self, name: str) -> torch.Tensor:
        return self.factors[name].dense()

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        return self.factors[name].rows(start, stop)

    def low_rank(self, name: str) -> LowRank | None:
        return self.factors.get(name)


class MixedTaskVector:
    """Task vector of any other adapter: factors where they are exact, dense deltas elsewhere.

    Attributes:
        modules: parameter name -> PEFT's module path.
        beyond: what makes it more than a LoRA on linear layers, for messages.
    """

    def __init__(self, updates: Mapping[str, Update], base: Checkpoint) -> None:
        self._updates = dict(sorted(updates.items()))
        self._base = base
        self._stretches: dict[str, torch.Tensor] = {}
        self.modules = {name: update.module for name, update in self._updates.items()}
        self.beyond = _beyond(self._updates)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._updates)

    def delta(self, name: str) -> torch.Tensor:
        return self.rows(name, 0, self._base.shape(name)[0])

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        update = self._updates[name]
        if update.low_rank is not None:  # without the detour over the base's values, which would round
            return update.low_rank.rows(start, stop)
        old = self._base.rows(name, start, stop).float()
        new = self._directions(name, start, stop)
        if update.magnitude is not None:
            new = new * self._stretch(name, start, stop, new)
        delta = new - old
        return delta if update.shift is None else delta + update.shift[start:stop]

    def low_rank(self, name: str) -> LowRank | None:
        return self._updates[name].low_rank if name in self._updates else None

    def _directions(self, name: str, start: int, stop: int) -> torch.Tensor:
        """Rows of the parameter with its replacement and factors, before DoRA's magnitudes."""
        update = self._updates[name]
        if update.replacement is not None:
            value = update.replacement[start:stop].float()
        else:
            value = self._base.rows(name, start, stop).float()
        return value if update.factors is None else value + update.factors.rows(start, stop)

    def _stretch(self, name: str, start: int, stop: int, rows: torch.Tensor) -> torch.Tensor:
        """DoRA's magnitude over the norm, shaped to multiply ``rows`` (arXiv:2402.09353, eq. 5)."""
        update = self._updates[name]
        assert update.magnitude is not None
        if not update.by_column:
            norms: torch.Tensor = torch.linalg.vector_norm(rows, dim=1)
            return (update.magnitude[start:stop] / norms).unsqueeze(1)
        if name not in self._stretches:  # a column's norm needs all rows: once, a run of rows at a time
            length, width = self._base.shape(name)
            squares = torch.zeros(width, dtype=torch.float64)
            for first in range(0, length, _NORM_ROWS):
                part = self._directions(name, first, min(first + _NORM_ROWS, length))
                squares += part.square().sum(dim=0, dtype=torch.float64)
            self._stretches[name] = update.magnitude / squares.sqrt().float()
        return self._stretches[name]


class DenseTaskVector:
    """Task vector of a full checkpoint fine-tuned from the base.

    Attributes:
        base: what it was fine-tuned from.
        expert: the checkpoint.

    Raises:
        UserError: the checkpoint has other parameters or other shapes than the base.
    """

    def __init__(self, base: Checkpoint, expert: Checkpoint) -> None:
        self.base, self.expert = base, expert
        for name in base.names:
            if name not in expert:
                raise self._other_base(f"it has no parameter '{name}'")
            if expert.shape(name) != base.shape(name):
                raise self._other_base(
                    f"'{name}' has shape {list(expert.shape(name))}, the base has {list(base.shape(name))}"
                )
        extra = [name for name in expert.names if name not in base]
        if extra:
            raise self._other_base(f"its parameter '{extra[0]}' is not in the base")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Found by comparing the files once; most fine-tunes leave some parameters as they were."""
        return tuple(name for name in self.base.names if self._differs(name))

    def delta(self, name: str) -> torch.Tensor:
        return self.expert[name].float() - self.base[name].float()

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        return self.expert.rows(name, start, stop).float() - self.base.rows(name, start, stop).float()

    def low_rank(self, name: str) -> LowRank | None:
        return None

    def _differs(self, name: str) -> bool:
        # integer buffers are no task's: the base's stay
        return self.base.dtype(name).is_floating_point and not equal_values(self.expert[name], self.base[name])

    def _other_base(self, what: str) -> UserError:
        return UserError(f"{self.expert.path} was not fine-tuned from {self.base.path}: {what}; name its own base")


def open_task_vector(base: Checkpoint, source: str, cache: Path | None = None) -> TaskVector:
    """Task vector of the adapter, checkpoint or raw file that ``source`` names, see :mod:`evomerge.weights.sources`."""
    folder = resolve_weights(source, cache)
    if not (folder / "adapter_config.json").is_file():
        return DenseTaskVector(base, plain_checkpoint(folder))
    vector = _vector_of(updates_on(Adapter(folder), base), base)
    if isinstance(vector, MixedTaskVector) and any(vector.low_rank(name) is None for name in vector.names):
        _log.info("%s is more than a LoRA on linear layers (%s): merged densely there", source, vector.beyond)
    return vector


def _vector_of(updates: Mapping[str, Update], base: Checkpoint) -> LowRankTaskVector | MixedTaskVector:
    if any(update.low_rank is None or update.by_column for update in updates.values()):
        return MixedTaskVector(updates, base)
    factors = {name: update.factors for name, update in updates.items() if update.factors is not None}
    return LowRankTaskVector(factors, {name: update.module for name, update in updates.items()})


def _beyond(updates: Mapping[str, Update]) -> str:
    kinds = {
        "DoRA": [name for name, update in updates.items() if update.magnitude is not None],
        "whole parameters": [name for name, update in updates.items() if update.replacement is not None],
        "bias deltas": [name for name, update in updates.items() if update.shift is not None],
        "transposed layers or embeddings": [name for name, update in updates.items() if update.by_column],
    }
    return ", ".join(f"{kind}: {names[0]}{' ...' * (len(names) > 1)}" for kind, names in kinds.items() if names)
