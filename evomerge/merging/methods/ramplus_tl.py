"""RAM+: RAM that amplifies what one expert alone changed, by how much that expert changed together with others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from torch import Tensor

from evomerge.merging.block import Parameter
from evomerge.merging.changed import Negligible, add_changed, shared_and_alone
from evomerge.merging.parameters import Range
from evomerge.merging.registry import merge_method

Strength = Annotated[float, Range(0.0, 1.0, at_least=0.0, searched=False)]


@merge_method(paper="arXiv:2601.13572")
def ramplus_tl(
    parameter: Parameter, weights: Tensor, *, r: Strength = 0.1, alpha: Strength = 0.2, epsilon: Negligible = 1e-5
) -> Iterator[Tensor]:
    """RAM, with each expert's lone changes times 1 + r min(shared / alone, alpha), counted per parameter.

    An expert of weight 0 changed nothing; one that changed an entry by at most epsilon did not.
    """
    counts = shared_and_alone(parameter, weights, epsilon)
    amplified = [1.0 + r * min(shared / max(alone, 1), alpha) for shared, alone in counts]
    for block in parameter.blocks():
        assert block.base is not None
        yield add_changed(block.base, block.experts, weights, epsilon, amplified)
