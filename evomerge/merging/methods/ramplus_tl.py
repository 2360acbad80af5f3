"""RAM+: RAM that amplifies what one expert alone changed, by how much it shares with others."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from evomerge.merging.block import View
from evomerge.merging.changed import Negligible, add_changed, shared_and_alone
from evomerge.merging.parameters import Range
from evomerge.merging.registry import merge_method

Strength = Annotated[float, Range(0.0, 1.0, at_least=0.0, searched=False)]


def amplifications(view: View, weights: Tensor, r: float, alpha: float, epsilon: float) -> list[float]:
    """1 + r min(shared / alone, alpha) of each expert."""
    counts = shared_and_alone(view, weights, epsilon)
    return [1.0 + r * min(shared / max(alone, 1), alpha) for shared, alone in counts]


@merge_method(paper="arXiv:2601.13572", measure=amplifications)
def ramplus_tl(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    measured: list[float],
    r: Strength = 0.1,
    alpha: Strength = 0.2,
    epsilon: Negligible = 1e-5,
) -> Tensor:
    """RAM, with each expert's lone changes times 1 + r min(shared / alone, alpha), counted per parameter.

    An expert of weight 0 changed nothing; one that changed an entry by at most epsilon did not.
    """
    return add_changed(base, deltas, weights, epsilon, measured)
