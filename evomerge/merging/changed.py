"""Count which experts changed an entry (RAM, arXiv:2601.13572)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.block import Parameter
from evomerge.merging.parameters import Range

Negligible = Annotated[float, Range(1e-8, 1e-3, log=True, at_least=0.0, searched=False)]
"""An entry counts as changed where |delta| is greater than this, in the units of the parameter."""


def changes(deltas: Tensor, weights: Tensor, epsilon: float) -> Iterator[tuple[int, float, Tensor]]:
    """(index, weight, where its |delta| exceeds epsilon as 0 and 1) of each expert whose weight is not 0."""
    for t, weight in enumerate(weights.tolist()):
        if weight != 0.0:
            yield t, weight, (deltas[t].abs() > epsilon).to(deltas.dtype)


def add_changed(base: Tensor, deltas: Tensor, weights: Tensor, epsilon: float, alone: Sequence[float]) -> Tensor:
    """base + per entry the mean of w_t d_t over the experts that changed it.

    Args:
        base: shape S.
        deltas: shape (T, *S).
        weights: shape (T,).
        epsilon: see :data:`Negligible`.
        alone: factor of each expert's delta where nobody else changed the entry.
    """
    count, merged, single = (torch.zeros_like(base) for _ in range(3))
    for t, weight, changed in changes(deltas, weights, epsilon):
        count.add_(changed)
        delta = changed.mul_(deltas[t])
        merged.add_(delta, alpha=weight)
        single.add_(delta, alpha=weight * alone[t])
    return torch.where(count == 1.0, single, merged.div_(count.clamp_min_(1.0))).add_(base)


def shared_and_alone(parameter: Parameter, weights: Tensor, epsilon: float) -> list[tuple[int, int]]:
    """Per expert how many entries it changed together with another one, and alone."""
    counts = torch.zeros(parameter.experts, 2, dtype=torch.int64)
    for block in parameter.blocks():
        each = list(changes(block.experts, weights, epsilon))
        if each:
            count = torch.stack([changed for _, _, changed in each]).sum(0)
            for t, _, changed in each:
                alone = int(torch.count_nonzero((count == 1.0) & (changed != 0.0)))
                counts[t] += torch.tensor([int(torch.count_nonzero(changed)) - alone, alone])
    return [(int(together), int(alone)) for together, alone in counts]
