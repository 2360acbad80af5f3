"""Task vectors: expert minus base, one parameter at a time."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from evomerge.errors import UserError
from evomerge.tensors.lazy import LazyMatrix, LowRank, Sum, difference
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.adapters.dense_delta import DenseDelta
from evomerge.weights.adapters.updates import Update, updates_on
from evomerge.weights.checkpoint import Checkpoint, Stored
from evomerge.weights.quantized import plain_checkpoint
from evomerge.weights.sources import resolve_weights
from evomerge.weights.tensor_files import equal_values

_log = logging.getLogger(__name__)


class TaskVector:
    """A task vector (arXiv:2212.04089): an expert minus its base, read lazily.

    Args:
        base: base that the expert was fine-tuned from.
        models: parameters of the expert by name; those that equal the base's may be missing.
        modules: PEFT's module path by parameter name, for an adapter.
        is_lora: whether the expert is a LoRA on linear layers; all deltas then have factors, as core space requires.
        beyond: reason why an adapter is more than a LoRA on linear layers, for messages.
    """

    def __init__(
        self,
        base: Checkpoint,
        models: Mapping[str, LazyMatrix],
        modules: Mapping[str, str] | None = None,
        is_lora: bool = False,
        beyond: str = "",
    ) -> None:
        self.base, self.is_lora, self.beyond = base, is_lora, beyond
        self.modules = dict(modules or {})
        self._models = dict(sorted(models.items()))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the base's parameters that the expert changes, in alphabetical order.

        For a checkpoint, the files are compared once, because most fine-tunes leave some parameters unchanged.
        """
        return tuple(name for name, model in self._models.items() if self._differs(name, model))

    def model(self, name: str) -> LazyMatrix:
        """The expert's parameter."""
        return self._models.get(name, Stored(self.base, name))

    def delta(self, name: str) -> LazyMatrix:
        """Expert minus base."""
        return difference(self.model(name), Stored(self.base, name))

    def factors(self, name: str) -> LowRank | None:
        """Factors of the delta in the parameter's orientation; None if it has none."""
        delta = self.delta(name) if name in self._models else None
        return delta if isinstance(delta, LowRank) else None

    def _differs(self, name: str, model: LazyMatrix) -> bool:
        if not isinstance(model, Stored):
            return True
        # skip integer buffers: no task trains them, and a merge keeps the base's
        return self.base.dtype(name).is_floating_point and not equal_values(model.checkpoint[name], self.base[name])


def checkpoint_vector(base: Checkpoint, expert: Checkpoint) -> TaskVector:
    """Task vector of a full checkpoint.

    Raises:
        UserError: the checkpoint has other parameters or shapes than the base.
    """
    check_parameters(base, expert)
    return TaskVector(base, {name: Stored(expert, name) for name in base.names})


def adapter_vector(adapter: Adapter, base: Checkpoint) -> TaskVector:
    """Task vector of an adapter, with factors where these are exact and dense deltas elsewhere.

    Raises:
        UserError: a parameter does not fit the base.
    """
    updates = updates_on(adapter, base)
    models = {name: Sum(Stored(base, name), _delta(update, Stored(base, name))) for name, update in updates.items()}
    is_lora = not any(update.low_rank is None or update.by_column for update in updates.values())
    modules = {name: update.module for name, update in updates.items()}
    return TaskVector(base, models, modules, is_lora, _beyond(updates))


def lora_vector(adapter: Adapter, base: Checkpoint) -> TaskVector:
    """Task vector of an adapter that must be a LoRA on linear layers.

    Raises:
        UserError: a parameter does not fit the base, or the adapter is more than a LoRA on linear layers.
    """
    vector = adapter_vector(adapter, base)
    if not vector.is_lora:
        raise UserError(
            f"adapter {adapter.folder} is more than a LoRA on linear layers ({vector.beyond}): use a full-space method"
        )
    return vector


def open_task_vector(base: Checkpoint, source: str, cache: Path | None = None) -> TaskVector:
    """Task vector of an adapter, checkpoint or raw file by its model name (:mod:`evomerge.weights.sources`)."""
    folder = resolve_weights(source, cache)
    if not (folder / "adapter_config.json").is_file():
        return checkpoint_vector(base, plain_checkpoint(folder))
    vector = adapter_vector(Adapter(folder), base)
    if any(vector.factors(name) is None for name in vector.names):
        _log.info("%s changes more than LoRA matrices (%s); those are merged as full matrices", source, vector.beyond)
    return vector


def check_parameters(
    base: Checkpoint, expert: Checkpoint, may_be_longer: Callable[[str], bool] = lambda name: False
) -> None:
    """Refuse a checkpoint that lacks the base's parameters and shapes, and so was not fine-tuned from the base.

    Args:
        may_be_longer: whether a parameter may have more rows than the base's.

    Raises:
        UserError: a parameter differs; the error names it.
    """
    for name in base.names:
        if name not in expert:
            raise other_base(base, expert, f"it has no parameter '{name}'")
        shape, wanted = expert.shape(name), base.shape(name)
        is_longer = may_be_longer(name) and shape[1:] == wanted[1:] and shape[0] > wanted[0]
        if shape != wanted and not is_longer:
            raise other_base(base, expert, f"'{name}' has shape {list(shape)}, the base has {list(wanted)}")
    extra = [name for name in expert.names if name not in base]
    if extra:
        raise other_base(base, expert, f"its parameter '{extra[0]}' is not in the base")


def other_base(base: Checkpoint, expert: Checkpoint, reason: str) -> UserError:
    """The error for a checkpoint of another base."""
    return UserError(f"{expert.path} was not fine-tuned from {base.path}: {reason}; name its own base (base=...)")


def _delta(update: Update, base: Stored) -> LazyMatrix:
    return DenseDelta(base, update) if update.low_rank is None else update.low_rank


def _beyond(updates: Mapping[str, Update]) -> str:
    kinds = {
        "DoRA": [name for name, update in updates.items() if update.magnitude is not None],
        "whole parameters": [name for name, update in updates.items() if update.replacement is not None],
        "bias deltas": [name for name, update in updates.items() if update.shift is not None],
        "transposed layers or embeddings": [name for name, update in updates.items() if update.by_column],
    }
    return ", ".join(f"{kind}: {names[0]}{' ...' * (len(names) > 1)}" for kind, names in kinds.items() if names)
