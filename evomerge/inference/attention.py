"""Compute attention on the CPU as batched matrix products over the key/value heads.

PyTorch's CPU flash attention costs up to 70 times the products themselves when a row has one query (8 ms a layer at
128 rows x 60 keys, against 0.3 ms here). The heads that share a key/value head are stacked as rows of one product, so
keys and values are never repeated. Keys and values must lie contiguously (see kv_cache): a strided batched product of
bfloat16 leaves the fast kernel and is 100 times slower.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "evomerge_grouped"

# With more scores than this (256 MB in float32), flash attention is faster: it never writes them out.
_MAX_SCORES = 1 << 26
# Arguments that change the formula (attention sinks, logit soft caps, learned biases): left to the model's own kernel.
_FOREIGN = ("s_aux", "softcap", "position_bias", "cache")


def additive_mask(*args: Any, dtype: torch.dtype = torch.float32, **kwargs: Any) -> Tensor:
    """Mask of shape (rows, 1, queries, keys): 0 where attended, the lowest ``dtype`` value elsewhere, in float32.

    Made once for each forward pass; every layer would convert a boolean mask again.
    """
    kwargs["allow_is_causal_skip"] = False
    kept = sdpa_mask(*args, **kwargs)
    assert kept is not None, "sdpa_mask skipped the mask although told not to"
    lowest = torch.finfo(dtype).min  # finite: softmax of a row that attends to nothing must give numbers, not NaN
    return torch.zeros(kept.shape, dtype=torch.float32, device=kept.device).masked_fill_(~kept, lowest)


def grouped_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of query (B, H G, Q, D) to key and value (B, H, L, D); gives (B, Q, H G, D). Softmax in float32."""
    rows, heads, queries, width = query.shape
    kv_heads, length = key.shape[1], key.shape[2]
    foreign = any(kwargs.get(name) is not None for name in _FOREIGN)
    if (
        foreign
        or dropout
        or attention_mask is None
        or query.device.type != "cpu"
        or attention_mask.shape[1] != 1
        or rows * heads * queries * length > _MAX_SCORES
    ):
        mask = None if attention_mask is None else attention_mask.to(query.dtype)
        output: Tensor = sdpa_attention_forward(
            module, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs
        )[0]
        return output, None
    scale = width**-0.5 if scaling is None else scaling
    stacked = query.reshape(rows * kv_heads, -1, width)
    keys = key.reshape(rows * kv_heads, length, width)
    values = value.reshape(rows * kv_heads, length, value.shape[-1])
    scores = torch.bmm(stacked, keys.transpose(1, 2)).view(rows, heads, queries, length)
    weights = torch.softmax(torch.add(attention_mask, scores, alpha=scale), dim=-1).to(value.dtype)
    mixed = torch.bmm(weights.view(rows * kv_heads, -1, length), values)
    return mixed.view(rows, heads, queries, -1).transpose(1, 2).contiguous(), None


def install(model: PreTrainedModel) -> None:
    """Let ``model`` use :func:`grouped_attention` where it would use sdpa; a model that uses another kernel keeps
    it."""
    AttentionInterface.register(NAME, grouped_attention)
    AttentionMaskInterface.register(NAME, additive_mask)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
