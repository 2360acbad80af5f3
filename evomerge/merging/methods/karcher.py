"""Karcher mean of many models on the sphere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.block import Parameter
from evomerge.merging.combination import combine, gram_matrix, normalized
from evomerge.merging.parameters import Range
from evomerge.merging.registry import merge_method

# An angle this close to pi has no direction: every arc to the antipode is as short.
_ANTIPODE = math.pi - 1e-6


@merge_method(
    paper="arXiv:2603.04972",
    base="unused",
    relative_weights=True,
    exceptions={"untouched": "the mean on a sphere bends what it passes"},
)
def karcher(
    parameter: Parameter,
    weights: Tensor,
    *,
    max_iter: Annotated[float, Range(1, 100, at_least=0, whole=True, searched=False)] = 10,
    tol: Annotated[float, Range(1e-9, 1e-2, log=True, above=0.0, searched=False)] = 1e-5,
) -> Iterator[Tensor]:
    """The point on the sphere nearest to all models by arc length, at their weighted mean length.

    Only the ratio of the weights matters; mergekit's are equal. All weights 0 give the base.

    Args:
        max_iter: steps at most.
        tol: a shorter step, in radians, is the last; shorter models are left out.
    """
    ratios = normalized("karcher", weights)
    factors = None if ratios is None else _factors(parameter, ratios, int(max_iter), tol)
    return combine("karcher", parameter, factors)


def _factors(parameter: Parameter, ratios: Tensor, max_iter: int, tol: float) -> list[float]:
    """Factor of each model. All points stay in the models' span, so their dot products are all that is needed."""
    if int(torch.count_nonzero(ratios)) == 1:
        return [float(ratio != 0) for ratio in ratios]
    gram = gram_matrix(parameter)
    lengths = gram.diagonal().sqrt()
    valid = (lengths > tol) & (ratios != 0)
    if not valid.any():
        return [0.0] * parameter.experts
    inverse = torch.where(valid, 1.0 / torch.where(valid, lengths, 1.0), 0.0)
    cosines = gram * inverse * inverse[:, None]
    alphas = torch.where(valid, ratios, 0.0)
    alphas = alphas / alphas.sum()
    mean = alphas
    length = _length(mean, cosines)
    if length < tol:
        mean = torch.zeros_like(alphas)
        mean[valid.nonzero()[0]] = 1.0
    else:
        mean = mean / length
    for _ in range(max_iter):
        dots = (cosines @ mean).clamp(-1.0, 1.0)
        angles = torch.arccos(dots)
        moves = valid & (angles >= tol) & (angles < _ANTIPODE)
        pulls = torch.where(moves, alphas * angles / torch.where(moves, torch.sin(angles), 1.0), 0.0)
        tangent = pulls - (pulls * dots).sum() * mean
        step = _length(tangent, cosines)
        if step < tol or step == 0.0:
            break
        mean = math.cos(step) * mean + math.sin(step) / step * tangent
        mean = mean / _length(mean, cosines)
    return [float(c) for c in float((ratios * lengths).sum()) * mean * inverse]


def _length(coefficients: Tensor, gram: Tensor) -> float:
    return math.sqrt(max(0.0, float(coefficients @ gram @ coefficients)))
