"""Tell what a parameter's name means: its layer, an embedding, the output head. No other module reads names."""

from __future__ import annotations

import re

#: The output head in most architectures; a checkpoint with tied embeddings stores none.
HEAD = "lm_head.weight"

_LAYER = re.compile(r"((?:^|\.)(?:layers?|h|blocks?)\.)(\d+)(\.)")
_HEAD = re.compile(r"(?:^|\.)(?:lm_head|embed_out)\.")  # embed_out: GPT-NeoX and Pythia
_EMBEDDING = re.compile(r"embed|(?:^|\.)(?:wte|wpe)\.")
_TOKEN_EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in|tok_embeddings)\.weight$")


def layer_index(name: str) -> int | None:
    """The layer's number, None for parameters outside the layers.

    >>> [layer_index(name) for name in ("model.layers.11.mlp.up_proj.weight", "h.3.attn.bias", "model.norm.weight")]
    [11, 3, None]
    """
    match = _LAYER.search(name)
    return int(match[2]) if match else None


def layer_template(name: str) -> str:
    """The name with ``{}`` in place of its layer's number.

    >>> layer_template("model.layers.11.mlp.up_proj.weight")
    'model.layers.{}.mlp.up_proj.weight'
    """
    return _LAYER.sub(r"\1{}\3", name, count=1)


def is_head(name: str) -> bool:
    """Whether the parameter belongs to the output head.

    >>> [is_head(name) for name in ("lm_head.weight", "embed_out.weight", "gpt_neox.embed_in.weight")]
    [True, True, False]
    """
    return bool(_HEAD.search(name))


def is_embedding(name: str) -> bool:
    """Whether the parameter belongs to the embedding of tokens or positions, which come before the layers.

    >>> [is_embedding(name) for name in ("model.embed_tokens.weight", "wpe.weight", "embed_out.weight")]
    [True, True, False]
    """
    return bool(_EMBEDDING.search(name)) and not is_head(name)


def is_token_embedding(name: str) -> bool:
    """Whether the parameter is the embedding matrix, with one row for each token.

    >>> [is_token_embedding(name) for name in ("model.embed_tokens.weight", "transformer.wpe.weight")]
    [True, False]
    """
    return bool(_TOKEN_EMBEDDING.search(name))


def is_vocabulary(name: str) -> bool:
    """Whether the parameter has a row for each token or position: embeddings and the output head.

    >>> [is_vocabulary(n) for n in ("model.embed_tokens.weight", "lm_head.weight", "model.layers.0.mlp.up_proj.weight")]
    [True, True, False]
    """
    return is_embedding(name) or is_head(name)
