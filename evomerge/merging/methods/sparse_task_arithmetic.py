"""Task arithmetic and the methods that sparsify the deltas first: TIES, DARE, DELLA and Breadcrumbs.

Each method is one of four sparsifiers (:mod:`evomerge.merging.sparsify`) and one of two sums: :func:`_weighted_sum` or
:func:`_elected_sum`.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from evomerge.merging.block import Parameter
from evomerge.merging.parameters import Average, Density, Epsilon, Gamma, Rescale, Scale, Total
from evomerge.merging.registry import merge_method
from evomerge.merging.sign_election import agreeing_mean
from evomerge.merging.sparsify import Sparsifier, at_random, by_magnitude, by_rank, without_outliers

# Weights whose sum is smaller than this are not divided by it (mergekit's bound).
_NO_SUM = 1e-8


@merge_method(paper="arXiv:2212.04089")
def task_arithmetic(
    parameter: Parameter, weights: Tensor, *, average: Total = "sum", scale: Scale = 1.0
) -> Iterator[Tensor]:
    """Base plus the weighted sum of the task vectors."""
    return _weighted_sum(parameter, weights, None, average, scale)


@merge_method(paper="arXiv:2306.01708")
def ties(
    parameter: Parameter,
    weights: Tensor,
    *,
    density: Density = 1.0,
    average: Average = "count",
    rescale: Rescale = "none",
    scale: Scale = 1.0,
) -> Iterator[Tensor]:
    """Keep the largest entries, elect a sign per entry, average the experts that carry it."""
    return _elected_sum(parameter, weights, by_magnitude(parameter, weights, density, rescale), average, scale)


@merge_method(paper="arXiv:2311.03099")
def dare_linear(
    parameter: Parameter,
    weights: Tensor,
    *,
    density: Density = 1.0,
    average: Total = "sum",
    rescale: Rescale = "density",
    scale: Scale = 1.0,
) -> Iterator[Tensor]:
    """Drop random entries, rescale the rest to keep the mean, add the weighted sum to the base."""
    return _weighted_sum(parameter, weights, at_random(parameter, weights, density, rescale), average, scale)


@merge_method(paper="arXiv:2311.03099")
def dare_ties(
    parameter: Parameter,
    weights: Tensor,
    *,
    density: Density = 1.0,
    average: Average = "count",
    rescale: Rescale = "density",
    scale: Scale = 1.0,
) -> Iterator[Tensor]:
    """Drop random entries, rescale the rest, elect a sign per entry, average the experts that carry it."""
    return _elected_sum(parameter, weights, at_random(parameter, weights, density, rescale), average, scale)


@merge_method(paper="arXiv:2406.11617")
def della_linear(
    parameter: Parameter,
    weights: Tensor,
    *,
    density: Density = 1.0,
    epsilon: Epsilon = 0.15,
    average: Total = "sum",
    rescale: Rescale = "density",
    scale: Scale = 1.0,
) -> Iterator[Tensor]:
    """Drop random entries, small ones more often, rescale, add the weighted sum to the base."""
    return _weighted_sum(parameter, weights, by_rank(parameter, weights, density, epsilon, rescale), average, scale)


@merge_method(paper="arXiv:2406.11617")
def della(
    parameter: Parameter,
    weights: Tensor,
    *,
    density: Density = 1.0,
    epsilon: Epsilon = 0.15,
    average: Average = "count",
    rescale: Rescale = "density",
    scale: Scale = 1.0,
) -> Iterator[Tensor]:
    """Drop random entries, small ones more often, rescale, elect a sign, average the experts that carry it."""
    return _elected_sum(parameter, weights, by_rank(parameter, weights, density, epsilon, rescale), average, scale)


@merge_method(paper="arXiv:2312.06795")
def breadcrumbs(
    parameter: Parameter,
    weights: Tensor,
    *,
    density: Density = 1.0,
    gamma: Gamma = 0.01,
    average: Total = "sum",
    rescale: Rescale = "none",
    scale: Scale = 1.0,
) -> Iterator[Tensor]:
    """Drop the largest and the smallest entries, add the weighted sum of the rest to the base."""
    sparsifier = without_outliers(parameter, weights, density, gamma, rescale)
    return _weighted_sum(parameter, weights, sparsifier, average, scale)


@merge_method(paper="arXiv:2312.06795; election: arXiv:2306.01708")
def breadcrumbs_ties(
    parameter: Parameter,
    weights: Tensor,
    *,
    density: Density = 1.0,
    gamma: Gamma = 0.01,
    average: Average = "count",
    rescale: Rescale = "none",
    scale: Scale = 1.0,
) -> Iterator[Tensor]:
    """Drop the largest and the smallest entries, elect a sign per entry, average the experts that carry it."""
    sparsifier = without_outliers(parameter, weights, density, gamma, rescale)
    return _elected_sum(parameter, weights, sparsifier, average, scale)


def _weighted_sum(
    parameter: Parameter, weights: Tensor, sparsifier: Sparsifier | None, average: str, scale: float
) -> Iterator[Tensor]:
    """base + scale sum_t w_t f_t keep_t(d_t); average ``weight`` divides the sum by that of the weights."""
    total = float(weights.sum())
    if average == "weight" and abs(total) >= _NO_SUM:
        scale /= total
    for block in parameter.blocks():
        merged: Tensor | None = None
        for t, weight in enumerate(weights.tolist()):
            if weight != 0.0:
                delta, factor = block.experts[t], scale * weight
                if sparsifier is not None:
                    delta, factor = sparsifier.keep(block, t), sparsifier.factors[t] * factor
                merged = delta * factor if merged is None else merged.add_(delta, alpha=factor)
        yield block.add_base(merged)


def _elected_sum(
    parameter: Parameter, weights: Tensor, sparsifier: Sparsifier, average: str, scale: float
) -> Iterator[Tensor]:
    """base + scale times the average of those w_t f_t keep_t(d_t) that carry the elected sign."""
    voters = [(t, weight) for t, weight in enumerate(weights.tolist()) if weight != 0.0]
    votes: Tensor | None = None
    for block in parameter.blocks():
        if not voters:
            yield block.add_base(None)
            continue
        if votes is None or votes.shape[1:] != block.experts.shape[1:]:  # only the last block needs another buffer
            votes = block.experts.new_empty((len(voters), *block.experts.shape[1:]))
        for vote, (t, weight) in zip(votes, voters, strict=True):
            torch.mul(sparsifier.keep(block, t), weight * sparsifier.factors[t], out=vote)
        merged = agreeing_mean(votes, [weight for _, weight in voters], average)
        yield block.add_base(merged.mul_(scale) if scale != 1.0 else merged)
