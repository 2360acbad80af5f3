"""Sign election among experts (TIES, arXiv:2306.01708, sec. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def agreeing_mean(deltas: Sequence[Tensor], weights: Tensor, average: str = "count") -> Tensor:
    """Per entry the average of those weighted deltas w_t d_t that carry the elected sign, that of sum_t w_t d_t.

    Entries that are 0 and experts of weight 0 neither vote nor count. Where the votes sum to exactly 0, ``count``
    elects nobody, as the paper's sign(0) does; ``weight`` and ``sum`` elect +, as mergekit does.

    Args:
        deltas: T tensors of one shape S, already trimmed.
        weights: shape (T,).
        average: what the sum over the agreeing experts is divided by, see
            :data:`evomerge.merging.parameters.Average`. With equal weights w, ``count`` gives w times the paper's
            disjoint mean.

    Returns:
        Tensor of shape S.
    """
    voters = [(delta, weight) for delta, weight in zip(deltas, weights.tolist(), strict=True) if weight != 0.0]
    if not voters:
        return torch.zeros_like(deltas[0])
    votes = torch.empty((len(voters), *deltas[0].shape), dtype=deltas[0].dtype, device=deltas[0].device)
    for row, (delta, weight) in zip(votes, voters, strict=True):
        torch.mul(delta, weight, out=row)
    elected = votes.sum(0)
    elected = elected.sign_() if average == "count" else elected.ge_(0.0).mul_(2.0).sub_(1.0)
    votes.mul_(elected).clamp_min_(0.0)  # |w d| where the signs agree, else 0
    merged = votes.sum(0).mul_(elected)
    if average == "count":
        return merged.div_(votes.sign_().sum(0).clamp_min_(1.0))
    if average == "weight":
        agreeing = torch.tensordot(weights[weights != 0].to(votes), votes.sign_(), dims=1)
        return merged.div_(torch.where(agreeing == 0.0, 1.0, agreeing))
    return merged


def weighted_sum(deltas: Sequence[Tensor], weights: Tensor, average: str = "sum") -> Tensor:
    """Sum of w_t d_t, all experts taken as they are.

    Args:
        deltas: T tensors of one shape S.
        weights: shape (T,).
        average: ``sum``, or ``weight``: divided by the sum of the weights (by 1 where that is below 1e-8).

    Returns:
        Tensor of shape S.
    """
    merged = torch.zeros_like(deltas[0])
    for delta, weight in zip(deltas, weights.tolist(), strict=True):
        if weight != 0.0:
            merged.add_(delta, alpha=weight)
    total = float(weights.sum())
    return merged.div_(total) if average == "weight" and abs(total) >= 1e-8 else merged
