"""Model Stock: how far to go from the base to the experts' mean, from the angle between them."""

from __future__ import annotations

import itertools
from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.block import View
from evomerge.merging.gram import gram_matrix, shares
from evomerge.merging.parameters import Flag
from evomerge.merging.registry import merge_method

# Below this 1 + (N - 1) cos has no finite ratio, and a product of lengths no angle.
_SINGULAR = 1e-6
_ZERO = 1e-30


def measure(view: View, weights: Tensor, filter_wise: bool = False) -> tuple[list[float], float | None] | None:
    """Share of each expert in their mean, and the ratio for the whole parameter; None: all weights are 0."""
    parts = shares("model_stock", weights)
    if parts is None:
        return None
    if filter_wise:
        return parts.tolist(), None
    gram = gram_matrix(view)
    present = [t for t, part in enumerate(parts.tolist()) if part != 0.0]
    lengths = gram.diagonal().sqrt()
    cosines = [
        (gram[a, b] / (lengths[a] * lengths[b]).clamp_min(_ZERO)).clamp(-1.0, 1.0)
        for a, b in itertools.combinations(present, 2)
    ]
    return parts.tolist(), float(_ratio(cosines, len(present), gram[0, 0]))


@merge_method(paper="arXiv:2403.19522", min_experts=2, relative_weights=True, measure=measure)
def model_stock(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    measured: tuple[list[float], float | None] | None,
    filter_wise: Annotated[bool, Flag()] = False,
) -> Tensor:
    """From the base towards the mean of N experts, by t = N cos / (1 + (N - 1) cos), cos their mean cosine.

    The weights make the mean a weighted one; only their ratio matters, and experts of weight 0 do not count. Deltas
    at right angles give the base. mergekit takes products of two lengths below 1e-6 as 1e-6, which keeps tiny updates
    out; here their angle counts.

    Args:
        filter_wise: a ratio for each row along the last dimension instead of one for the whole parameter.
    """
    if measured is None:
        return base.clone()
    parts, ratio = measured
    mean = torch.zeros_like(base)
    for delta, part in zip(deltas, parts, strict=True):
        if part != 0.0:
            mean.add_(delta, alpha=part)
    if ratio is not None:
        return mean.mul_(ratio).add_(base)
    rows = [delta.reshape(-1) if delta.ndim < 2 else delta for delta, part in zip(deltas, parts, strict=True) if part]
    lengths = [torch.linalg.vector_norm(row, dim=-1, keepdim=True, dtype=torch.float64) for row in rows]
    cosines = [
        ((rows[a] * rows[b]).sum(-1, keepdim=True, dtype=torch.float64) / (lengths[a] * lengths[b]).clamp_min(_ZERO))
        for a, b in itertools.combinations(range(len(rows)), 2)
    ]
    ratios = _ratio([cosine.clamp(-1.0, 1.0) for cosine in cosines], len(rows), lengths[0])
    return mean.mul_(ratios.to(mean).reshape(ratios.shape if mean.ndim else ())).add_(base)


def _ratio(cosines: list[Tensor], experts: int, like: Tensor) -> Tensor:
    """t, from the cosines of all pairs; a single expert is its own mean."""
    if experts == 1:
        return torch.ones_like(like)
    cosine = torch.stack(cosines).mean(0)
    denominator = 1.0 + (experts - 1) * cosine
    singular = denominator.abs() < _SINGULAR
    return torch.where(singular, 0.0, experts * cosine / torch.where(singular, 1.0, denominator))
