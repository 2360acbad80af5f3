"""Read a model as its difference to a base, one parameter after another, for extraction."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import torch

from evomerge.tensors.lazy import LazyMatrix, LowRank, dense, difference, row_ranges
from evomerge.weights.checkpoint import Checkpoint, Stored
from evomerge.weights.parameter_names import is_vocabulary
from evomerge.weights.task_vector import TaskVector, check_parameters, other_base

_SAMPLES = 4  # number of matrices compared to detect a wrong base
_ROWS = 64  # approximate number of rows compared of each matrix
_RELATED = 0.1  # cosine: above 0.9 for fine-tunes, about 0 for models trained apart


@dataclass(frozen=True)
class Deltas:
    """A model as its difference to a base; it can be read several times.

    Attributes:
        base: the base.
        names: names of the base's parameters that may differ, in the order of :meth:`read`.
        modules: PEFT's module path by parameter name, for the parameters of adapters.
        changes: function that gives the changes of the parameters of these names, in order.
        longer: vocabulary matrices with more rows than the base's.
    """

    base: Checkpoint
    names: tuple[str, ...]
    modules: Mapping[str, str]
    changes: Callable[[Collection[str]], Iterator[tuple[str, LazyMatrix]]]
    longer: Mapping[str, LazyMatrix] = field(default_factory=dict)

    def read(self, only: Collection[str] | None = None) -> Iterator[tuple[str, LazyMatrix]]:
        """Changes of all parameters, or ``only`` of some."""
        return self.changes(self.names if only is None else only)

    def added_rows(self, name: str) -> torch.Tensor | None:
        """Rows of a vocabulary matrix beyond the base's, float32."""
        if name not in self.longer:
            return None
        matrix = self.longer[name]
        return matrix.rows(self.base.shape(name)[0], matrix.shape[0]).float()


class Buffers(threading.local):
    """Each thread's memory for a matrix of each shape: allocating a new matrix costs more time than the subtraction."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, ...], torch.Tensor] = {}

    def dense(self, change: LazyMatrix) -> torch.Tensor:
        """The change in float32. The caller may write to it; the thread's next matrix of this shape reuses the
        memory."""
        if change.shape not in self._of:
            self._of[change.shape] = torch.empty(change.shape)
        return dense(change, self._of[change.shape])


def energy(change: LazyMatrix) -> float:
    """Squared Frobenius norm."""
    total = 0.0
    for start, stop in row_ranges(change.shape, torch.device("cpu")):
        part = change.rows(start, stop).reshape(-1)
        total += float(torch.dot(part, part))
    return total


def checkpoint_deltas(base: Checkpoint, model: Checkpoint) -> Deltas:
    """A full checkpoint minus its base. Vocabulary matrices may have more rows than the base's.

    Raises:
        UserError: the checkpoint has other parameters or shapes than the base, or its weights do not correlate with the
            base's.
    """
    check_parameters(base, model, may_be_longer=is_vocabulary)
    _check_related(base, model)

    def changes(names: Collection[str]) -> Iterator[tuple[str, LazyMatrix]]:
        for name in base.names:
            if name in names and base.dtype(name).is_floating_point:
                yield name, difference(Stored(model, name), Stored(base, name))

    longer = {n: Stored(model, n) for n in base.names if is_vocabulary(n) and model.shape(n) != base.shape(n)}
    return Deltas(base, base.names, {}, changes, longer)


def factor_deltas(base: Checkpoint, factors: Mapping[str, LowRank], modules: Mapping[str, str]) -> Deltas:
    """Differences in factors: those of an adapter, or of a merge in core space."""
    ordered = dict(sorted(factors.items()))
    return Deltas(base, tuple(ordered), modules, lambda names: ((n, f) for n, f in ordered.items() if n in names))


def deltas_of_expert(base: Checkpoint, expert: Checkpoint | TaskVector) -> Deltas:
    """Differences of a fine-tune: a full checkpoint, or the task vector of a LoRA."""
    if isinstance(expert, Checkpoint):
        return checkpoint_deltas(base, expert)
    factors = {name: factor for name in expert.names if (factor := expert.factors(name))}
    return factor_deltas(base, factors, expert.modules)


def _check_related(base: Checkpoint, model: Checkpoint) -> None:
    matrices = [name for name in base.names if len(base.shape(name)) == 2 and not is_vocabulary(name)]
    for name in matrices[:: max(1, len(matrices) // _SAMPLES)][:_SAMPLES]:
        some = slice(None, None, max(1, base.shape(name)[0] // _ROWS))
        before, after = base[name][some].float(), model[name][some].float()
        cosine = torch.nn.functional.cosine_similarity(before.flatten(), after.flatten(), dim=0)
        if cosine < _RELATED and before.any():
            raise other_base(
                base, model, f"'{name}' has nothing in common with the base's (cosine {float(cosine):.2f})"
            )
