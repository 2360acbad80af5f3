"""Spherical average of many models or of their deltas."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from torch import Tensor

from evomerge.errors import UserError
from evomerge.merging.block import View
from evomerge.merging.gram import base_copy, combined, gram_matrix, shares
from evomerge.merging.parameters import Flag, Range
from evomerge.merging.registry import merge_method

# Float64 dot products of float32 numbers cannot tell a shorter mean of unit vectors from 0.
_NOTHING = 1e-7


def coefficients(view: View, weights: Tensor, normalize_weights: bool = True, eps: float = 1e-8) -> list[float] | None:
    """Factor of each expert; None: all weights are 0.

    The definition's step in the tangent space at the mean has length 0, because that mean is already weighted: what
    is left is the direction of the weighted mean of the unit vectors, at the weighted mean length.
    """
    wide = shares("multislerp", weights) if normalize_weights else weights.double().cpu()
    if wide is None or not wide.any():
        return None
    present = int(torch.count_nonzero(wide))
    if present == 1:
        return [float(weight != 0) for weight in wide]
    gram = gram_matrix(view, origin=True)
    lengths = gram.diagonal().sqrt()
    mean = wide / (lengths + eps)
    length = math.sqrt(max(0.0, float(mean @ gram @ mean)))
    if length < max(eps, _NOTHING):
        if present == 2 or not (lengths * wide).any():  # nobody changed this parameter
            return [float(weight) for weight in wide]
        raise UserError(
            f"multislerp has no direction where the experts cancel, got weights {weights.tolist()}: change one of them"
        )
    reach = math.cos(eps) * float((wide * lengths).sum()) / length
    return [float(c) for c in mean * reach]


@merge_method(
    paper="https://goddard.blog/posts/multislerp-wow-what-a-cool-idea",
    relative_weights={"normalize_weights": True},
    measure=coefficients,
)
def multislerp(
    base: Tensor | None,
    models: Tensor,
    weights: Tensor,
    *,
    measured: list[float] | None,
    normalize_weights: Annotated[bool, Flag()] = True,
    eps: Annotated[float, Range(1e-10, 1e-4, log=True, at_least=0.0, searched=False)] = 1e-8,
) -> Tensor:
    """Weighted mean direction and weighted mean length of the experts' deltas (without a base: of the experts).

    Args:
        normalize_weights: divide the weights by their sum; weights that cancel are then a UserError.
        eps: added to lengths.
    """
    return base_copy("multislerp", base) if measured is None else combined(base, models, measured)
