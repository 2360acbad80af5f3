"""Merge matrices of several adapters into one, entry by entry, a block of rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch

from evomerge.merging.magnitude_index import Cut, MagnitudeIndex
from evomerge.merging.randomness import Randomness, rounded_density
from evomerge.merging.sparsify import keep_largest, kept_count
from evomerge.recipes.combine_yaml import Combination
from evomerge.tensors.lazy import LazyMatrix

# Entries of each adapter's update that are in memory at a time.
_BLOCK = 1 << 21


def merge_matrices(
    matrices: Sequence[LazyMatrix], weights: Sequence[float], recipe: Combination, random: Randomness
) -> torch.Tensor:
    """Weighted sum, or sign election and mean, of pruned matrices (m, n).

    Args:
        matrices: each adapter's factor, or its update, which is never whole in memory.
    """
    cuts = [_cut(matrix, recipe) for matrix in matrices]
    out = torch.empty(matrices[0].shape)
    for start, stop in _spans(matrices[0].shape):
        first = start * out.shape[1]
        deltas = [
            _pruned(matrix.rows(start, stop), recipe, cut, random.at(first), expert)
            for expert, (matrix, cut) in enumerate(zip(matrices, cuts, strict=True))
        ]
        if recipe.elects:
            out[start:stop] = _agreeing_mean(deltas, weights, recipe.majority_sign)
        else:
            out[start:stop] = sum(delta * w for delta, w in zip(deltas, weights, strict=True))
    return out


def _pruned(delta: torch.Tensor, recipe: Combination, cut: Cut | None, random: Randomness, expert: int) -> torch.Tensor:
    if recipe.prunes == "random":
        assert recipe.density is not None
        kept = random.mask(expert, delta.shape, recipe.density)
        return delta * kept / rounded_density(recipe.density)
    return keep_largest(delta, cut, random.start)


def _cut(matrix: LazyMatrix, recipe: Combination) -> Cut | None:
    """The threshold between kept and dropped entries of the whole matrix; None keeps all entries."""
    entries = math.prod(matrix.shape)
    if recipe.prunes != "magnitude" or recipe.density is None or kept_count(recipe.density, entries) == entries:
        return None
    index = MagnitudeIndex.build(_blocks(matrix))
    return index.cut(_blocks(matrix), kept_count(recipe.density, entries))


def _blocks(matrix: LazyMatrix) -> Iterator[torch.Tensor]:
    """All rows in order, in the blocks that the merge reads too: the same blocks give bit-identical entries."""
    return (matrix.rows(start, stop) for start, stop in _spans(matrix.shape))


def _agreeing_mean(
    deltas: Sequence[torch.Tensor], weights: Sequence[float], majority: Literal["total", "frequency"]
) -> torch.Tensor:
    """Mean of w_t d_t over the adapters whose entry has the elected sign.

    The elected sign is that of the sum of the d_t, or that of more of the d_t.

    Weights do not vote: a negative weight does not change which entries agree.
    """
    votes = sum(delta if majority == "total" else delta.sign() for delta in deltas)
    elected = torch.where(torch.as_tensor(votes) >= 0, 1.0, -1.0)
    mixed, count = torch.zeros_like(elected), torch.zeros_like(elected)
    for delta, weight in zip(deltas, weights, strict=True):
        agrees = delta.sign() == elected
        mixed += agrees * delta * weight
        count += agrees
    return mixed / count.clamp_min(1.0)


def _spans(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    step = max(1, _BLOCK // shape[1])
    return [(start, min(start + step, shape[0])) for start in range(0, shape[0], step)]
