"""Elect a sign per entry among the experts (TIES, arXiv:2306.01708, sec. 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def agreeing_mean(votes: Tensor, weights: Sequence[float], average: str = "count") -> Tensor:
    """Per entry the average of those weighted deltas that carry the elected sign, that of their sum.

    Entries that are 0 neither vote nor count. Where the votes sum to exactly 0, ``count`` elects nobody, as the
    paper's sign(0) does; ``weight`` and ``sum`` elect +, as mergekit does.

    Args:
        votes: w_t d_t of the T > 0 experts whose weight is not 0, already trimmed, shape (T, *S). Overwritten.
        weights: the T weights w_t.
        average: what the sum over the agreeing experts is divided by, see
            :data:`evomerge.merging.parameters.Average`. With equal weights w, ``count`` gives w times the paper's
            disjoint mean.

    Returns:
        Tensor of shape S.
    """
    elected = votes.sum(0).sign_()
    if average != "count":
        elected.add_(0.5).sign_()
    votes.mul_(elected).clamp_min_(0.0)  # |w d| where the signs agree, else 0
    merged = votes.sum(0).mul_(elected)
    if average == "count":
        return merged.div_(votes.sign_().sum(0).clamp_min_(1.0))
    if average == "weight":
        agreeing = torch.tensordot(votes.new_tensor(weights), votes.sign_(), dims=1)
        if min(weights) > 0.0:
            return merged.div_(agreeing.clamp_min_(min(weights)))  # 0 where nobody agrees, and merged is 0 there
        return merged.div_(agreeing.masked_fill_(agreeing == 0.0, 1.0))
    return merged
