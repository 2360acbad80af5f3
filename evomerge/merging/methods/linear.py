"""Weighted average of the experts' parameters."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from evomerge.merging.block import View
from evomerge.merging.gram import base_copy, combined, shares
from evomerge.merging.parameters import Choice
from evomerge.merging.registry import merge_method


def coefficients(view: View, weights: Tensor, average: str = "weight") -> list[float] | None:
    """Factor of each model; None: all weights are 0, which means the base."""
    parts = weights if average == "sum" else shares("linear", weights)
    return None if parts is None else parts.tolist()


@merge_method(paper="arXiv:2203.05482", needs_base=False, relative_weights={"average": "weight"}, measure=coefficients)
def linear(
    base: Tensor | None,
    models: Tensor,
    weights: Tensor,
    *,
    measured: list[float] | None,
    average: Annotated[str, Choice(("weight", "sum"))] = "weight",
) -> Tensor:
    """Weighted average of the experts: sum of w_t W_t over the sum of w_t.

    With average ``weight`` only the ratio of the weights matters, all weights 0 give the base, and weights that
    cancel are a UserError. ``sum`` divides by nothing.
    """
    return base_copy("linear", base) if measured is None else combined(None, models, measured)
