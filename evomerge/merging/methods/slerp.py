"""Spherical interpolation of two models."""

from __future__ import annotations

import math

from torch import Tensor

from evomerge.merging.block import View
from evomerge.merging.gram import base_copy, combined, gram_matrix, shares
from evomerge.merging.registry import merge_method

# Above this cosine the arc is straight to float32 accuracy and the sines would divide small by small.
_PARALLEL = 0.9995
_ZERO = 1e-8


def coefficients(view: View, weights: Tensor) -> tuple[float, float] | None:
    """Factors of both models; None: both weights are 0, which means the base."""
    parts = shares("slerp", weights)
    if parts is None:
        return None
    t = float(parts[1])
    gram = gram_matrix(view).tolist()
    lengths = [math.sqrt(gram[i][i]) for i in range(2)]
    cosine = gram[0][1] / math.prod(length if length > _ZERO else 1.0 for length in lengths)
    if abs(cosine) > _PARALLEL:
        return 1.0 - t, t
    angle = math.acos(cosine)
    return math.sin((1 - t) * angle) / math.sin(angle), math.sin(t * angle) / math.sin(angle)


@merge_method(
    paper="doi:10.1145/325334.325242",
    min_experts=2,
    max_experts=2,
    needs_base=False,
    relative_weights=True,
    measure=coefficients,
    exceptions={"untouched": "an arc bends what it passes"},
)
def slerp(base: Tensor | None, models: Tensor, weights: Tensor, *, measured: tuple[float, float] | None) -> Tensor:
    """Along the arc between two models, at t = w_2 / (w_1 + w_2).

    Only the ratio of the weights matters: (1 - t, t) is mergekit's ``t``. Both weights 0 give the base; weights that
    cancel are a UserError.
    """
    if measured is None:
        return base_copy("slerp", base)
    return combined(None, models, measured)
