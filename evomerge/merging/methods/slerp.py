"""Spherical interpolation of two models."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor

from evomerge.merging.block import Parameter
from evomerge.merging.combination import combine, gram_matrix, normalized
from evomerge.merging.registry import merge_method

# Above this cosine the arc is straight to float32 accuracy and the sines would divide small by small.
_PARALLEL = 0.9995
_ZERO = 1e-8


@merge_method(
    paper="doi:10.1145/325334.325242",
    min_experts=2,
    max_experts=2,
    base="unused",
    relative_weights=True,
    exceptions={"untouched": "an arc bends what it passes"},
)
def slerp(parameter: Parameter, weights: Tensor) -> Iterator[Tensor]:
    """Along the arc between two models, at t = w_2 / (w_1 + w_2).

    Only the ratio of the weights matters: (1 - t, t) is mergekit's ``t``. Both weights 0 give the base; weights that
    cancel are a UserError.
    """
    ratios = normalized("slerp", weights)
    factors = None if ratios is None else _on_the_arc(gram_matrix(parameter).tolist(), float(ratios[1]))
    return combine("slerp", parameter, factors)


def _on_the_arc(gram: list[list[float]], t: float) -> tuple[float, float]:
    """Factors of both models at t, from their dot products."""
    lengths = [math.sqrt(gram[i][i]) for i in range(2)]
    cosine = gram[0][1] / math.prod(length if length > _ZERO else 1.0 for length in lengths)
    if abs(cosine) > _PARALLEL:
        return 1.0 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)
