"""Cut the layers into groups of equal length, and find a parameter's group."""

from __future__ import annotations

from collections.abc import Iterable

from evomerge.weights.parameter_names import is_embedding, layer_index


def layer_count(names: Iterable[str]) -> int:
    """Number of layers among parameter names; at least 1."""
    return max((index for name in names if (index := layer_index(name)) is not None), default=0) + 1


def layer_group(name: str, groups: int, layers: int) -> int:
    """Index of a parameter's group, for ``layers`` layers cut into ``groups`` equal runs.

    Embeddings go with the first layer, the final norm and the output head with the last.

    >>> [layer_group(f"model.layers.{i}.mlp.up_proj.weight", 2, 4) for i in range(4)]
    [0, 0, 1, 1]
    >>> [layer_group(name, 2, 4) for name in ("model.embed_tokens.weight", "lm_head.weight", "embed_out.weight")]
    [0, 1, 1]
    """
    index = layer_index(name)
    if index is None:
        index = 0 if is_embedding(name) else layers - 1
    return min(index, layers - 1) * groups // layers
