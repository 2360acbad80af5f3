"""Isotropic merging (arXiv:2502.04959) on core matrices: Iso-C, Iso-CTS and what lies between them and a plain sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.parameters import Range
from evomerge.merging.registry import merge_method

# Singular values below this share of the largest one are rounding, not directions of the update.
_NOTHING = 1e-5


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
    left, values, right = torch.linalg.svd(cores)
    real = values > _NOTHING * values.amax((-1, -2), keepdim=True)
    k = max(1, int(real.sum(-1).max()))
    values, right = (values * real)[..., None, :k], right.mT[..., :k] * real[..., None, :k]
    return Factored(cores, left[..., :k] * values, right)


@merge_method(paper="arXiv:2502.04959; core space: arXiv:2509.17786", space="core", prepare=prepare)
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
        common: share of the directions that is the sum's own; the others are shared out evenly among the experts, for
            their strongest directions beside the common ones (Iso-CTS). 1 is Iso-C.
        scale: factor on the whole update, alpha in the paper.

    Returns:
        Merged cores, shape (*N, R, R).
    """
    *batch, experts, size, _ = state.cores.shape
    cores, left, right = (part.reshape(-1, *part.shape[-3:]) for part in (state.cores, state.left, state.right))
    weights = weights.expand(*batch, experts).reshape(-1, experts).to(cores)
    merged = torch.einsum("nt,ntrs->nrs", weights, cores)
    several = torch.count_nonzero(weights, dim=1) > 1
    for pattern in torch.unique(weights[several] != 0, dim=0):
        rows = ((weights != 0) == pattern).all(1).nonzero().squeeze(1)
        scaled = weights[rows][:, pattern, None, None] * left[rows][:, pattern]
        merged[rows] = _isotropic(merged[rows], scaled, right[rows][:, pattern], flatten, common)
    return scale * merged.reshape(*batch, size, size)


def _isotropic(summed: Tensor, left: Tensor, right: Tensor, flatten: float, common: float) -> Tensor:
    """Merged cores (N, R, R) from their sum and the P experts' factors (N, P, R, k), weights in the left ones."""
    u, values, v = _triplets(summed)
    if common < 1.0:
        u, values, v = _with_own_directions(u, values, v, left, right, common)
    real = values > 0.0
    mean = values.sum(-1, keepdim=True) / real.sum(-1, keepdim=True).clamp_min(1)
    values = torch.where(real, (1.0 - flatten) * values + flatten * mean, 0.0)
    return (u * values[:, None, :]) @ v.mT


def _with_own_directions(
    u: Tensor, values: Tensor, v: Tensor, left: Tensor, right: Tensor, common: float
) -> tuple[Tensor, Tensor, Tensor]:
    """A share of the sum's directions and for the others the experts' own beside them, all made orthonormal.

    How many there are differs from matrix to matrix with the rank of the sum: what a matrix does not have is 0.

    Args:
        u, values, v: of the sum, (N, R, R), (N, R), (N, R, R), vectors as columns.
        left, right: of the experts, (N, P, R, k).
    """
    members, wide = left.shape[1], left.shape[-1]
    ranks = torch.count_nonzero(values, dim=-1)
    own = torch.minimum(((ranks - torch.floor(common * ranks)) / members).round().long(), ranks // members)
    own = own.clamp_max(wide)
    kept = ranks - own * members
    places = torch.arange(u.shape[-1], device=u.device)
    stays = (places < kept[:, None])[:, : int(kept.max())]
    u, values, v = (part[..., : stays.shape[1]] for part in (u, values, v))
    u, values, v = u * stays[:, None], values * stays, v * stays[:, None]
    own_u, own_values, turn = _triplets(left - (u @ u.mT)[:, None] @ left)
    own_values = own_values * (places[:wide] < own[:, None])[:, None]
    own_values = own_values[..., : max(1, int(own.max()))]
    counted = (own_values > 0.0)[..., None, :]
    own_u, own_v = (side[..., : counted.shape[-1]] * counted for side in (own_u, right @ turn))
    us, vs = (torch.cat([shared, each.transpose(1, 2).flatten(2)], dim=-1) for shared, each in ((u, own_u), (v, own_v)))
    return _orthonormal(us), torch.cat([values, own_values.flatten(1)], dim=-1), _orthonormal(vs)


def _orthonormal(columns: Tensor) -> Tensor:
    """Orthogonal polar factor of (N, R, K); directions that the columns do not span stay 0."""
    wide = columns.double()
    squares, vectors = torch.linalg.eigh(wide @ wide.mT)
    real = squares > _NOTHING**2 * squares[..., -1:]
    roots = torch.where(real, torch.where(real, squares, 1.0).rsqrt(), 0.0)
    factor: Tensor = (vectors * roots[..., None, :]) @ (vectors.mT @ wide)
    return factor.to(columns.dtype)


def _triplets(matrices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Singular vectors as columns and values of (*N, R, k), largest first; 0 where a matrix has no more directions."""
    # float64 eigenvalues of the small Gram matrix: faster than an SVD, and the squares still tell 1e-5 from 0
    wide = matrices.double()
    squares, vectors = torch.linalg.eigh(wide.mT @ wide)
    values, right = squares.clamp_min(0.0).sqrt().flip(-1), vectors.flip(-1)
    real = values > _NOTHING * values[..., :1]
    left = (wide @ right) * torch.where(real, 1.0 / torch.where(real, values, 1.0), 0.0)[..., None, :]
    found = left, values * real, right * real[..., None, :]
    return tuple(part.to(matrices.dtype) for part in found)  # type: ignore[return-value]
