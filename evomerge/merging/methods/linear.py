"""Weighted average of the experts' parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from torch import Tensor

from evomerge.merging.block import Parameter
from evomerge.merging.combination import combine, normalized
from evomerge.merging.parameters import Choice
from evomerge.merging.registry import merge_method


@merge_method(
    paper="arXiv:2203.05482",
    base="unused",
    relative_weights=True,
    relative_while={"average": "weight"},
    exceptions={
        "zero with average": "a sum of nothing is 0",
        "untouched with average": "a sum holds the base as often as the weights sum to",
    },
)
def linear(
    parameter: Parameter, weights: Tensor, *, average: Annotated[str, Choice(("weight", "sum"))] = "weight"
) -> Iterator[Tensor]:
    """Weighted average of the experts: sum of w_t W_t over the sum of w_t.

    With average ``weight`` only the ratio of the weights matters, all weights 0 give the base, and weights that
    cancel are a UserError. ``sum`` divides by nothing.
    """
    factors = weights if average == "sum" else normalized("linear", weights)
    return combine("linear", parameter, None if factors is None else factors.tolist())
