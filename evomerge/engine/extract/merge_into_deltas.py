"""A merge as its difference to the base, for extraction.

Apart from :mod:`evomerge.engine.extract.deltas`, for extracting from a checkpoint needs no merge method.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import torch

from evomerge.engine.extract.deltas import Buffers, Deltas, Difference, FactorDeltas
from evomerge.engine.merger import Merger
from evomerge.types import Recipe
from evomerge.weights.adapters.adapter import LowRank
from evomerge.weights.task_vector import LowRankTaskVector


class MergeDeltas:
    """A recipe's merged parameters minus the base, merged anew at every reading."""

    def __init__(self, merger: Merger, recipe: Recipe) -> None:
        self.base, self._merger, self._recipe = merger.base, merger, recipe
        self.modules: Mapping[str, str] = adapter_modules(merger)

    @property
    def names(self) -> tuple[str, ...]:
        return self._merger.changed(self._recipe)

    def read(self, only: Collection[str] | None = None) -> Iterator[tuple[str, Difference | LowRank]]:
        buffers = Buffers()
        for name, tensor in self._merger.tensors(self._recipe, dtype=torch.float32):
            if only is None or name in only:
                yield name, Difference(self.base[name], tensor, buffers)

    def added_rows(self, name: str) -> torch.Tensor | None:
        return None


def deltas_of_merge(merger: Merger, recipe: Recipe) -> Deltas:
    """Differences of a merge: in factors where the merge keeps to them, so that no dense matrix is formed."""
    if merger.is_low_rank(recipe):
        return FactorDeltas(merger.base, merger.core_space(recipe).to_lora(recipe)[0], adapter_modules(merger))
    return MergeDeltas(merger, recipe)


def adapter_modules(merger: Merger) -> dict[str, str]:
    """Parameter name -> PEFT's module path, from all experts that are adapters."""
    modules: dict[str, str] = {}
    for vector in merger.experts.values():
        if isinstance(vector, LowRankTaskVector):
            modules |= vector.modules
    return modules
