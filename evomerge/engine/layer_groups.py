"""Which layer group a parameter belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable

_LAYER = re.compile(r"(?:^|\.)(?:layers?|h|blocks?)\.(\d+)\.")
_FIRST = re.compile(r"embed|(?:^|\.)(?:wte|wpe)\.")


def layer_index(name: str) -> int | None:
    """The layer's number, None for parameters outside the layers.

    >>> [layer_index(name) for name in ("model.layers.11.mlp.up_proj.weight", "h.3.attn.bias", "model.norm.weight")]
    [11, 3, None]
    """
    match = _LAYER.search(name)
    return int(match[1]) if match else None


def is_before_layers(name: str) -> bool:
    """Whether a parameter outside the layers comes before them: an embedding."""
    return bool(_FIRST.search(name))


def layer_count(names: Iterable[str]) -> int:
    """Number of layers among parameter names; at least 1."""
    return max((index for name in names if (index := layer_index(name)) is not None), default=0) + 1


def layer_group(name: str, groups: int, layers: int) -> int:
    """Index of the group that ``name`` is in when ``layers`` layers are cut into ``groups`` equal runs.

    Embeddings go with the first layer, the final norm and the output head with the last.

    >>> [layer_group(f"model.layers.{i}.mlp.up_proj.weight", 2, 4) for i in range(4)]
    [0, 0, 1, 1]
    >>> layer_group("model.embed_tokens.weight", 2, 4), layer_group("lm_head.weight", 2, 4)
    (0, 1)
    """
    index = layer_index(name)
    if index is None:
        index = 0 if is_before_layers(name) else layers - 1
    return min(index, layers - 1) * groups // layers
