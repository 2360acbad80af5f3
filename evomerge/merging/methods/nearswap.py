"""NearSwap: take an expert's small changes as they are and cut its large ones down."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from evomerge.merging.parameters import Range
from evomerge.merging.registry import blockwise

# Differences below this count as this much: mergekit's definition.
_LEAST = 1e-6


@blockwise(
    paper="https://hf.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
    max_experts=1,
    exceptions={"identity": "moves by t at most"},
)
def nearswap(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    t: Annotated[float, Range(1e-5, 1e-2, log=True, at_least=0.0)] = 1e-4,
) -> Tensor:
    """Move each parameter of the base towards the expert's, by ``t`` at most.

    Args:
        t: in units of the parameters.
    """
    delta = deltas[0]
    moved = delta.abs().clamp_(min=_LEAST).reciprocal_().mul_(t).clamp_(0.0, 1.0).mul_(delta)
    return moved.mul_(weights[0].to(moved)).add_(base)
