"""Compute logits at chosen positions alone: a large vocabulary makes those of all positions expensive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def logits_only_at(model: nn.Module, chosen: Tensor | tuple[Tensor, Tensor]) -> Iterator[Callable[[Tensor], Tensor]]:
    """Within, the model's head sees the hidden states of these positions alone, as one row.

    Gives a function that takes the model's logits and returns those (positions, vocabulary).

    Args:
        chosen: a mask (rows, positions), or two index tensors, of the hidden states that the head would see.
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    if head is None:
        yield lambda logits: logits[chosen]
        return
    hook = head.register_forward_pre_hook(lambda module, inputs: (inputs[0][chosen][None], *inputs[1:]), prepend=True)
    try:
        yield lambda logits: logits[0]
    finally:
        hook.remove()
