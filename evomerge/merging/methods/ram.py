"""RAM: add what one expert alone changed, average what several changed."""

from __future__ import annotations

from torch import Tensor

from evomerge.merging.changed import Negligible, add_changed
from evomerge.merging.registry import blockwise


@blockwise(paper="arXiv:2601.13572")
def ram(base: Tensor, deltas: Tensor, weights: Tensor, *, epsilon: Negligible = 1e-5) -> Tensor:
    """Per entry the mean of the weighted deltas of those experts that changed it.

    An expert of weight 0 changed nothing; one that changed an entry by at most epsilon did not.
    """
    return add_changed(base, deltas, weights, epsilon, [1.0] * len(deltas))
