"""Read a merge as its difference to the base, for extraction.

This module is separate from :mod:`evomerge.engine.extract.deltas`, because extraction from a checkpoint needs no merge
method.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import torch

from evomerge.engine.extract.deltas import Deltas, factor_deltas
from evomerge.engine.merger import Merger
from evomerge.tensors.lazy import InMemory, LazyMatrix, difference
from evomerge.types import Recipe
from evomerge.weights.checkpoint import Stored


def deltas_of_merge(merger: Merger, recipe: Recipe) -> Deltas:
    """Differences of a merge; in factors, without dense matrices, if the merge stays in its experts' factors."""
    if merger.is_low_rank(recipe):
        return factor_deltas(merger.base, merger.core_space(recipe).to_lora(recipe)[0], adapter_modules(merger))
    return dense_deltas_of_merge(merger, recipe)


def dense_deltas_of_merge(merger: Merger, recipe: Recipe) -> Deltas:
    """A recipe's merged parameters minus the base; each reading merges them again."""

    def changes(names: Collection[str]) -> Iterator[tuple[str, LazyMatrix]]:
        for name, tensor in merger.tensors(recipe, dtype=torch.float32):
            if name in names:
                yield name, difference(InMemory(tensor), Stored(merger.base, name))

    return Deltas(merger.base, merger.changed(recipe), adapter_modules(merger), changes)


def adapter_modules(merger: Merger) -> dict[str, str]:
    """PEFT's module path by parameter name, from all experts that are adapters."""
    modules: dict[str, str] = {}
    for vector in merger.experts.values():
        if vector.is_lora:
            modules |= vector.modules
    return modules
