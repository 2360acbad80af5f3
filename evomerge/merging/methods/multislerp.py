"""Spherical average of many models or of their deltas."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from evomerge.errors import UserError
from evomerge.merging.block import Parameter
from evomerge.merging.combination import combine, gram_matrix, normalized
from evomerge.merging.parameters import Flag, Range
from evomerge.merging.registry import merge_method

# Float64 dot products of float32 numbers cannot tell a shorter mean of unit vectors from 0.
_NOTHING = 1e-7


@merge_method(
    paper="https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
    base="optional",
    relative_weights=True,
    relative_while={"normalize_weights": True},
)
def multislerp(
    parameter: Parameter,
    weights: Tensor,
    *,
    normalize_weights: Annotated[bool, Flag()] = True,
    eps: Annotated[float, Range(1e-10, 1e-4, log=True, at_least=0.0, searched=False)] = 1e-8,
) -> Iterator[Tensor]:
    """Weighted mean direction and weighted mean length of the experts' deltas (without a base: of the experts).

    Args:
        normalize_weights: divide the weights by their sum; weights that cancel are then a UserError.
        eps: added to lengths.
    """
    factors = normalized("multislerp", weights) if normalize_weights else weights.double().cpu()
    if factors is None or not factors.any():
        return combine("multislerp", parameter, None)
    return combine("multislerp", parameter, _factors(parameter, weights, factors, eps), around_base=True)


def _factors(parameter: Parameter, weights: Tensor, factors: Tensor, eps: float) -> list[float]:
    """Factor of each expert, from its weight.

    The definition's step in the tangent space at the mean has length 0, because that mean is already weighted: what
    is left is the direction of the weighted mean of the unit vectors, at the weighted mean length.
    """
    present = int(torch.count_nonzero(factors))
    if present == 1:
        return [float(factor != 0) for factor in factors]
    gram = gram_matrix(parameter, around_base=True)
    lengths = gram.diagonal().sqrt()
    mean = factors / (lengths + eps)
    length = math.sqrt(max(0.0, float(mean @ gram @ mean)))
    if length < max(eps, _NOTHING):
        if present == 2 or not (lengths * factors).any():  # nobody changed this parameter
            return [float(factor) for factor in factors]
        raise UserError(
            f"multislerp has no direction where the experts cancel, got weights {weights.tolist()}: change one of them"
        )
    reach = math.cos(eps) * float((factors * lengths).sum()) / length
    return [float(c) for c in mean * reach]
