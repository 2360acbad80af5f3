"""TIES on core matrices: not the same as TIES on the parameters, but the merge stays a LoRA."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evomerge.merging.parameters import Density, per_expert
from evomerge.merging.registry import core_method
from evomerge.merging.sparsify import kept_count


@dataclass(frozen=True)
class Ranked:
    """Cores with each entry's rank among the magnitudes of its expert.

    Attributes:
        cores: shape (*N, T, R, R).
        ranks: same shape; 0 is the largest entry, equal ones in the order of their positions.
        entries: shape (*N,): how many entries some expert can have; the others are padding.
    """

    cores: Tensor
    ranks: Tensor
    entries: Tensor


def prepare(cores: Tensor) -> Ranked:
    """Everything that weights and densities do not change; cores (*N, T, R, R)."""
    order = cores.flatten(-2).abs().argsort(dim=-1, descending=True, stable=True)
    ascending = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    ranks = torch.empty_like(order).scatter_(-1, order, ascending)
    used = (cores != 0).any(-3)
    return Ranked(cores, ranks.reshape(cores.shape), used.any(-1).sum(-1) * used.any(-2).sum(-1))


@core_method(paper="arXiv:2306.01708; core space: arXiv:2509.17786", prepare=prepare)
def core_ties(state: Ranked, weights: Tensor, *, density: Density = 1.0) -> Tensor:
    """TIES in the common singular basis: keep the largest entries, elect a sign, average the experts that carry it.

    Experts of weight 0 and entries that are 0 neither vote nor count.

    Args:
        state: from :func:`prepare`, for cores of shape (*N, T, R, R).
        weights: shape (T,) or (*N, T).
        density: fraction of the entries of each core that are kept.

    Returns:
        Merged cores, shape (*N, R, R).
    """
    cores = state.cores
    experts = cores.shape[-3]
    weights = weights.expand(*cores.shape[:-2]).to(cores)
    counts = [[kept_count(d, int(n)) for d in per_expert(density, experts)] for n in state.entries.flatten()]
    kept = state.ranks < torch.tensor(counts, device=cores.device).reshape(*cores.shape[:-2], 1, 1)
    votes = cores * kept * weights[..., None, None]
    elected = votes.sum(-3).sign()
    agreeing = (votes * elected[..., None, :, :]).clamp_min_(0.0)
    return elected * agreeing.sum(-3) / agreeing.sign().sum(-3).clamp_min_(1.0)
