"""Isotropic merging (arXiv:2502.04959) on core matrices: Iso-C, Iso-CTS and what lies between them and a plain sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.core_matrices import NOTHING, groups_of_experts, singular_triplets
from evomerge.merging.parameters import Range
from evomerge.merging.registry import core_method


@dataclass(frozen=True)
class Factored:
    """Experts as products of thin factors: core = left right^T.

    Attributes:
        cores: shape (*N, T, R, R).
        left: left singular vectors times singular values, shape (*N, T, R, k); k is the largest rank of an expert.
        right: right singular vectors, same shape; 0 beyond an expert's rank.
    """

    cores: Tensor
    left: Tensor
    right: Tensor


def prepare(cores: Tensor) -> Factored:
    """Everything that no candidate changes; cores (*N, T, R, R)."""
    left, values, right = singular_triplets(cores)
    return Factored(cores, left * values[..., None, :], right)


@core_method(paper="arXiv:2502.04959; core space: arXiv:2509.17786", prepare=prepare)
def core_iso(
    state: Factored,
    weights: Tensor,
    *,
    flatten: Annotated[float, Range(0.0, 1.0, at_least=0.0, at_most=1.0)] = 1.0,
    common: Annotated[float, Range(0.0, 1.0, at_least=0.0, at_most=1.0)] = 1.0,
    scale: Annotated[float, Range(0.3, 2.0)] = 1.0,
) -> Tensor:
    """Iso-C / Iso-CTS: add the experts up and pull the sum's singular values to their mean.

    The mean runs over the directions that the sum has, not over those of the matrix, most of which are empty for LoRA
    experts. Experts of weight 0 are not part of the merge, and a single expert stays as it is.

    Args:
        state: from :func:`prepare`, for cores of shape (*N, T, R, R).
        weights: shape (T,) or (*N, T).
        flatten: 1: all singular values become their mean; 0: they stay.
        common: fraction of the directions that come from the sum; the others are divided evenly among the experts,
            for their strongest directions beside the common ones (Iso-CTS). 1 is Iso-C.
        scale: factor on the whole update, alpha in the paper.

    Returns:
        Merged cores, shape (*N, R, R).
    """
    *batch, experts, size, _ = state.cores.shape
    cores, left, right = (part.reshape(-1, *part.shape[-3:]) for part in (state.cores, state.left, state.right))
    weights = weights.expand(*batch, experts).reshape(-1, experts).to(cores)
    merged = torch.einsum("nt,ntrs->nrs", weights, cores)
    for rows, members in groups_of_experts(weights):
        if len(members) > 1:
            scaled = weights[rows][:, members, None, None] * left[rows][:, members]
            merged[rows] = _isotropic(merged[rows], scaled, right[rows][:, members], flatten, common)
    return scale * merged.reshape(*batch, size, size)


def _isotropic(summed: Tensor, left: Tensor, right: Tensor, flatten: float, common: float) -> Tensor:
    """Merged cores (N, R, R) from their sum and the P experts' factors (N, P, R, k), weights in the left ones."""
    u, values, v = _triplets(summed)
    if common < 1.0:
        u, values, v = _with_experts_directions(u, values, v, left, right, common)
    directions = values > 0.0
    mean = values.sum(-1, keepdim=True) / directions.sum(-1, keepdim=True).clamp_min(1)
    values = torch.where(directions, (1.0 - flatten) * values + flatten * mean, 0.0)
    return (u * values[:, None, :]) @ v.mT


def _with_experts_directions(
    u: Tensor, values: Tensor, v: Tensor, left: Tensor, right: Tensor, common: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Some of the sum's directions, the experts' strongest beside them, all made orthonormal.

    How many there are differs from matrix to matrix with the rank of the sum: what a matrix does not have is 0.

    Args:
        u, values, v: of the sum, (N, R, R), (N, R), (N, R, R), vectors as columns.
        left, right: of the experts, (N, P, R, k).
    """
    members, most = left.shape[1], left.shape[-1]
    ranks = torch.count_nonzero(values, dim=-1)
    each = torch.minimum(((ranks - torch.floor(common * ranks)) / members).round().long(), ranks // members)
    each = each.clamp_max(most)  # directions of one expert
    kept = ranks - each * members
    positions = torch.arange(u.shape[-1], device=u.device)
    stays = (positions < kept[:, None])[:, : int(kept.max())]
    u, values, v = (part[..., : stays.shape[1]] for part in (u, values, v))
    u, values, v = u * stays[:, None], values * stays, v * stays[:, None]
    expert_u, expert_values, turn = _triplets(left - (u @ u.mT)[:, None] @ left)
    expert_values = expert_values * (positions[:most] < each[:, None])[:, None]
    expert_values = expert_values[..., : max(1, int(each.max()))]
    counted = (expert_values > 0.0)[..., None, :]
    expert_u, expert_v = (side[..., : counted.shape[-1]] * counted for side in (expert_u, right @ turn))
    us, vs = (
        torch.cat([common_side, side.transpose(1, 2).flatten(2)], dim=-1)
        for common_side, side in ((u, expert_u), (v, expert_v))
    )
    return _orthonormal_columns(us), torch.cat([values, expert_values.flatten(1)], dim=-1), _orthonormal_columns(vs)


def _orthonormal_columns(columns: Tensor) -> Tensor:
    """Orthogonal polar factor of (N, R, K); directions that the columns do not span stay 0."""
    double = columns.double()
    squares, vectors = torch.linalg.eigh(double @ double.mT)
    spanned = squares > NOTHING**2 * squares[..., -1:]
    roots = torch.where(spanned, torch.where(spanned, squares, 1.0).rsqrt(), 0.0)
    factor: Tensor = (vectors * roots[..., None, :]) @ (vectors.mT @ double)
    return factor.to(columns.dtype)


def _triplets(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular vectors as columns and values of (*N, R, k), largest first; 0 where a matrix has no more directions."""
    # float64 eigenvalues of the small Gram matrix: faster than an SVD, and the squares still tell 1e-5 from 0
    double = matrices.double()
    squares, vectors = torch.linalg.eigh(double.mT @ double)
    values, right = squares.clamp_min(0.0).sqrt().flip(-1), vectors.flip(-1)
    directions = values > NOTHING * values[..., :1]
    left = (double @ right) * torch.where(directions, 1.0 / torch.where(directions, values, 1.0), 0.0)[..., None, :]
    parts = left, values * directions, right * directions[..., None, :]
    return tuple(part.to(matrices.dtype) for part in parts)  # type: ignore[return-value]
