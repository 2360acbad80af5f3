"""WUDI (arXiv:2503.08099) on core matrices, solved instead of descended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.parameters import Range
from evomerge.merging.registry import core_method


@dataclass(frozen=True)
class Normal:
    """What the normal equations are made of, in float64: directions of the experts differ by squares.

    Attributes:
        cores: M_t, shape (*N, T, R, R).
        grams: G_t = M_t^T M_t / ||M_t||^2; 0 where an expert is.
        products: M_t G_t.
    """

    cores: Tensor
    grams: Tensor
    products: Tensor


def prepare(cores: Tensor) -> Normal:
    """Everything that no candidate changes; cores (*N, T, R, R)."""
    wide = cores.double()
    energy = wide.square().sum((-2, -1), keepdim=True)
    grams = wide.mT @ wide / torch.where(energy > 0, energy, 1.0)
    return Normal(cores, grams, wide @ grams)


@core_method(paper="arXiv:2503.08099; core space: arXiv:2509.17786", prepare=prepare)
def core_wudi(
    state: Normal, weights: Tensor, *, ridge: Annotated[float, Range(1e-4, 1.0, log=True, above=0.0)] = 1e-2
) -> Tensor:
    """The update that does to each expert's inputs what that expert does: a least-squares problem, solved exactly.

    With X_t = w_t D_t it minimises the sum over experts of ||(D - X_t) D_t^T||^2 / ||D_t||^2 plus ridge ||D - S||^2,
    S the sum of all X_t. The paper descends from S and stops early; the ridge keeps near S in its place. Experts of
    weight 0 are not part of the merge, and a single expert gives X_t whatever the ridge.

    Args:
        state: from :func:`prepare`, for cores of shape (*N, T, R, R).
        weights: shape (T,) or (*N, T).
        ridge: weight of the pull to the sum; each expert's own term has trace 1.

    Returns:
        Merged cores, shape (*N, R, R).
    """
    weights = weights.to(state.grams).expand(state.cores.shape[:-2])
    pull = ridge * torch.eye(state.cores.shape[-1], dtype=state.grams.dtype, device=state.grams.device)
    targets = torch.einsum("...t,...trs->...rs", weights, state.products + ridge * state.cores)
    normal = torch.einsum("...t,...trs->...rs", (weights != 0).to(weights), state.grams) + pull
    merged: Tensor = torch.cholesky_solve(targets.mT, torch.linalg.cholesky(normal)).mT
    return merged.to(state.cores)
