"""One model as it is."""

from __future__ import annotations

from typing import Annotated

from torch import Tensor

from evomerge.merging.combination import base_copy
from evomerge.merging.parameters import Range
from evomerge.merging.registry import blockwise


@blockwise(
    paper="https://github.com/arcee-ai/mergekit",
    max_experts=1,
    base="unused",
    relative_weights=True,
    exceptions={"untouched with scale": "the factor is on the model, not on its change"},
)
def passthrough(
    base: Tensor | None,
    models: Tensor,
    weights: Tensor,
    *,
    scale: Annotated[float, Range(0.3, 2.0, searched=False)] = 1.0,
) -> Tensor:
    """The expert itself, whatever its weight; weight 0 gives the base.

    Args:
        scale: factor on its parameters.
    """
    return models[0] * scale if weights.any() else base_copy("passthrough", base)
