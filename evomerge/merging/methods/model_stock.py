"""Model Stock: how far to go from the base to the experts' mean, from the angle between them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.block import Parameter
from evomerge.merging.combination import gram_matrix, normalized
from evomerge.merging.parameters import Flag
from evomerge.merging.registry import merge_method

# Below this 1 + (N - 1) cos has no finite ratio, and a product of lengths no angle.
_SINGULAR = 1e-6
_ZERO = 1e-30


@merge_method(paper="arXiv:2403.19522", min_experts=2, relative_weights=True)
def model_stock(
    parameter: Parameter, weights: Tensor, *, filter_wise: Annotated[bool, Flag()] = False
) -> Iterator[Tensor]:
    """From the base towards the mean of N experts, by t = N cos / (1 + (N - 1) cos), cos their mean cosine.

    The weights make the mean a weighted one; only their ratio matters, and experts of weight 0 do not count. Deltas
    at right angles give the base. mergekit takes products of two lengths below 1e-6 as 1e-6, which keeps tiny updates
    out; here their angle counts.

    Args:
        filter_wise: a ratio for each row along the last dimension instead of one for the whole parameter.
    """
    ratios = normalized("model_stock", weights)
    parts = [] if ratios is None else [(t, ratio) for t, ratio in enumerate(ratios.tolist()) if ratio != 0.0]
    step = _step(parameter, [t for t, _ in parts]) if parts and not filter_wise else 1.0
    for block in parameter.blocks():
        if not parts:
            yield block.add_base(None)
            continue
        mean = torch.zeros_like(block.experts[0])
        for t, ratio in parts:
            mean.add_(block.experts[t], alpha=ratio)
        yield block.add_base(mean.mul_(_row_steps(block.experts, [t for t, _ in parts]) if filter_wise else step))


def _step(parameter: Parameter, present: Sequence[int]) -> float:
    """The step t for the whole parameter."""
    gram = gram_matrix(parameter)
    lengths = gram.diagonal().sqrt()
    cosines = [
        (gram[a, b] / (lengths[a] * lengths[b]).clamp_min(_ZERO)).clamp(-1.0, 1.0)
        for a, b in itertools.combinations(present, 2)
    ]
    return float(_ratio(cosines, len(present), gram[0, 0]))


def _row_steps(deltas: Tensor, present: Sequence[int]) -> Tensor:
    """The step t for each row along the last dimension, shaped to multiply a block."""
    rows = [deltas[t].reshape(-1) if deltas[t].ndim < 2 else deltas[t] for t in present]
    lengths = [torch.linalg.vector_norm(row, dim=-1, keepdim=True, dtype=torch.float64) for row in rows]
    cosines = [
        ((rows[a] * rows[b]).sum(-1, keepdim=True, dtype=torch.float64) / (lengths[a] * lengths[b]).clamp_min(_ZERO))
        for a, b in itertools.combinations(range(len(rows)), 2)
    ]
    steps = _ratio([cosine.clamp(-1.0, 1.0) for cosine in cosines], len(rows), lengths[0])
    return steps.to(deltas).reshape(steps.shape if deltas[0].ndim else ())


def _ratio(cosines: list[Tensor], experts: int, like: Tensor) -> Tensor:
    """t, from the cosines of all pairs; a single expert is its own mean."""
    if experts == 1:
        return torch.ones_like(like)
    cosine = torch.stack(cosines).mean(0)
    denominator = 1.0 + (experts - 1) * cosine
    singular = denominator.abs() < _SINGULAR
    return torch.where(singular, 0.0, experts * cosine / torch.where(singular, 1.0, denominator))
