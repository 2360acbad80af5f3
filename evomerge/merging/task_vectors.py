"""Adding the experts' deltas to the base, as a weighted sum or with an elected sign; block by block."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.sign_election import agreeing_mean
from evomerge.merging.trim import Trim

# Weights whose sum is smaller than this are not divided by it (mergekit's bound).
_NO_SUM = 1e-8


def add_sum(
    base: Tensor, deltas: Tensor, weights: Tensor, average: str, scale: float, trim: Trim | None = None, start: int = 0
) -> Tensor:
    """base + scale sum_t w_t f_t keep(d_t), the sum divided by that of the weights if ``average`` is ``weight``.

    Args:
        base: shape S.
        deltas: shape (T, *S).
        weights: shape (T,).
        average: ``sum`` or ``weight``.
        trim: keep and f; None: the deltas as they are.
        start: flat position of the block.
    """
    total = float(weights.sum())
    if average == "weight" and abs(total) >= _NO_SUM:
        scale /= total
    merged: Tensor | None = None
    for t, weight in enumerate(weights.tolist()):
        if weight != 0.0:
            kept, factor = (deltas[t], 1.0) if trim is None else (trim.keep(deltas[t], t, start), trim.factors[t])
            factor *= scale * weight
            merged = kept * factor if merged is None else merged.add_(kept, alpha=factor)
    return base.clone() if merged is None else merged.add_(base)


def add_consensus(
    base: Tensor, deltas: Tensor, weights: Tensor, average: str, scale: float, trim: Trim, start: int
) -> Tensor:
    """base + scale times the mean of those f_t keep(d_t) that carry the elected sign; arguments as in add_sum."""
    voters = [(t, weight) for t, weight in enumerate(weights.tolist()) if weight != 0.0]
    if not voters:
        return base.clone()
    votes = deltas.new_empty((len(voters), *base.shape))
    for vote, (t, weight) in zip(votes, voters, strict=True):
        vote.copy_(trim.keep(deltas[t], t, start)).mul_(weight * trim.factors[t])
    merged = agreeing_mean(votes, [weight for _, weight in voters], average)
    return merged.mul_(scale).add_(base) if scale != 1.0 else merged.add_(base)
