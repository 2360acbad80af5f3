"""Compress, then merge (arXiv:2606.03723): merge LoRA experts inside shared subspaces of the wanted rank."""

from __future__ import annotations

import torch

_SWEEPS = 8


def shared_subspaces(cores: torch.Tensor, weights: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Subspaces that hold most of all experts' energy on both sides at once.

    Maximises sum_t w_t^2 ||U^T M_t V||^2 by orthogonal iteration (HOOI, De Lathauwer et al. 2000,
    doi:10.1137/S0895479898346995), from the leading eigenvectors of sum_t w_t^2 M_t M_t^T.

    Args:
        cores: core matrices (N, T, R, R) of N parameters and T experts.
        weights: weights (N, T) of the experts.
        rank: number of columns of each subspace, at most R.

    Returns:
        U and V of shape (N, R, rank), with orthonormal columns.
    """
    scaled = cores * weights[..., None, None]
    # float64: the Gram matrix squares singular values, and float32 would blur the smaller directions
    wide = scaled.double()
    left = _leading(wide @ wide.mT, rank)
    right = _leading(wide.mT @ wide, rank)
    for _ in range(_SWEEPS):
        seen = wide @ right[:, None]
        left = _leading(seen @ seen.mT, rank)
        seen = wide.mT @ left[:, None]
        right = _leading(seen @ seen.mT, rank)
    return left.to(cores.dtype), right.to(cores.dtype)


def compress(cores: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Project cores (N, T, R, R) onto the subspaces: (N, T, rank, rank)."""
    return left[:, None].mT @ cores @ right[:, None]


def _leading(squares: torch.Tensor, rank: int) -> torch.Tensor:
    """Leading eigenvectors (N, R, rank) of the sum over T of (N, T, R, R)."""
    vectors: torch.Tensor = torch.linalg.eigh(squares.sum(dim=1)).eigenvectors
    return vectors[..., -rank:].flip(-1)
