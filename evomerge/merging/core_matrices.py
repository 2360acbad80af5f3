"""What methods on core matrices (*N, T, R, R) have in common: singular triplets, and which experts take part."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

NOTHING = 1e-5
"""Singular values below this fraction of the largest one are rounding, not directions of an update."""


def singular_triplets(cores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Left vectors (*N, T, R, k), singular values (*N, T, k) and right vectors (*N, T, R, k) of each expert's core.

    The vectors are columns; k is the largest rank of an expert, and beyond an expert's rank everything is 0.
    """
    left, values, right = torch.linalg.svd(cores)
    directions = values > NOTHING * values.amax((-1, -2), keepdim=True)
    k = max(1, int(directions.sum(-1).max()))
    directions = directions[..., :k]
    columns = directions[..., None, :]
    return left[..., :k] * columns, values[..., :k] * directions, right[..., :k, :].mT * columns


def groups_of_experts(weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of ``weights`` (N, T) in which the same experts have a weight, and the indices of these experts.

    Experts of weight 0 take no part in a merge, so each group is merged apart from the others. Rows without any weight
    are in no group.
    """
    patterns, pattern_of_row = torch.unique(weights != 0, dim=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if pattern.any():
            yield (pattern_of_row == number).nonzero().squeeze(1), pattern.nonzero().squeeze(1)
