"""Expert minus base, one parameter at a time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch

from evomerge.errors import UserError
from evomerge.weights.adapter import Adapter, LowRank
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.sources import resolve


class TaskVector(Protocol):
    """What fine-tuning changed (arXiv:2212.04089), read lazily."""

    @property
    def names(self) -> tuple[str, ...]:
        """The base's parameters that differ, in alphabetical order."""
        ...

    def delta(self, name: str) -> torch.Tensor:
        """Expert minus base, float32, of the parameter's shape. ``name`` is one of ``names``."""
        ...

    def low_rank(self, name: str) -> LowRank | None:
        """The delta's factors, where it has any."""
        ...


class LowRankTaskVector:
    """Task vector of a LoRA adapter.

    Attributes:
        factors: parameter name -> factors.
        modules: parameter name -> PEFT's module path, for writing an adapter that fits the same model.
    """

    def __init__(self, factors: Mapping[str, LowRank], modules: Mapping[str, str]) -> None:
        self.factors = dict(sorted(factors.items()))
        self.modules = dict(modules)

    @classmethod
    def from_adapter(cls, adapter: Adapter, base: Checkpoint) -> LowRankTaskVector:
        """Checked against the base; a UserError names the first parameter that does not fit."""
        names = adapter.on_base(base)
        return cls(
            {names[module]: factor for module, factor in adapter.factors.items()},
            {name: module for module, name in names.items()},
        )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.factors)

    def delta(self, name: str) -> torch.Tensor:
        return self.factors[name].dense()

    def low_rank(self, name: str) -> LowRank | None:
        return self.factors.get(name)


class DenseTaskVector:
    """Task vector of a full checkpoint fine-tuned from the base.

    Raises:
        UserError: the checkpoint has other parameters or other shapes than the base.
    """

    def __init__(self, base: Checkpoint, expert: Checkpoint) -> None:
        self._base, self._expert = base, expert
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
        return tuple(
            name
            for name in self._base.names
            if self._base[name].is_floating_point() and not torch.equal(self._expert[name], self._base[name])
        )

    def delta(self, name: str) -> torch.Tensor:
        return self._expert[name].float() - self._base[name].float()

    def low_rank(self, name: str) -> LowRank | None:
        return None

    def _other_base(self, what: str) -> UserError:
        return UserError(
            f"{self._expert.folder} was not fine-tuned from {self._base.folder}: {what}; name its own base"
        )


def open_task_vector(base: Checkpoint, source: str, cache: Path | None = None) -> TaskVector:
    """Task vector of the adapter or checkpoint that ``source`` names (see :func:`evomerge.weights.sources.resolve`)."""
    folder = resolve(source, cache)
    if (folder / "adapter_config.json").is_file():
        return LowRankTaskVector.from_adapter(Adapter(folder), base)
    return DenseTaskVector(base, Checkpoint(folder))
