"""Probe a model's forward pass on a few tokens, to learn which tricks of the decoder it allows.

Class attributes and configurations do not say it all: some models ignore the attention mask, number their positions in
a way of their own, or keep more from token to token than keys and values. What is tried here is what the decoders do.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from evomerge.errors import UserError
from evomerge.inference import attention
from evomerge.inference.kv_cache import RowCache, cache_argument, forward_rows
from evomerge.inference.next_token import other_settings, repetition_penalty

# Kinds of layers, as configurations name them, whose keys and values a RowCache can hold.
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_NEEDED = {"position_ids", "logits_to_keep", "attention_mask"}

_LENGTH, _FEWER = 12, 3  # tokens of the longer row of the probe, and by how many the other row is shorter


@dataclass(frozen=True)
class Abilities:
    """What the decoder may do with a causal language model.

    Attributes:
        rows: it decodes from a RowCache, whose rows begin and end at any time.
        padding: rows may be padded on the left: the attention mask hides it, positions are counted without it, and no
            setting of the model's generation config looks at it.
        token_bytes: size of a token's keys and values in a RowCache; 0 without ``rows``.
        drafts: it gives the logits of several tokens of a row in one pass.
    """

    rows: bool
    padding: bool
    token_bytes: int = 0
    drafts: bool = False


@torch.inference_mode()
def prepare(model: PreTrainedModel) -> Abilities:
    """Find the abilities of ``model``. A model that decodes by rows uses our attention from here on.

    Raises:
        UserError: it takes other inputs than tokens, or its logits for a token depend on later tokens.
    """
    tokens = _some_tokens(model)
    half = _LENGTH // 2
    whole, changed = _logits(model, torch.stack([tokens, torch.cat([tokens[:half], tokens[half:].flip(0)])]))
    if not _alike(changed[:half], whole[:half], model.dtype):
        raise UserError(
            f"{type(model).__name__} is not causal, what it says of a token depends on those after it: give a causal "
            "language model (of a kind that is an encoder too: one trained with is_decoder=true in config.json)"
        )
    [shorter] = _logits(model, tokens[None, _FEWER:])
    settings = other_settings(model)
    if keeps_keys_and_values(model) and not settings:
        own = model.config._attn_implementation
        attention.install(model)
        cache = RowCache(model.config.get_text_config().num_hidden_layers, 2, _LENGTH + 1)
        if _decodes_by_rows(model, tokens, cache, (whole, shorter), (1, 1)):
            drafts = _decodes_by_rows(model, tokens, cache, (whole, shorter), (3, 2))
            return Abilities(rows=True, padding=True, token_bytes=cache.token_bytes, drafts=drafts)
        model.set_attn_implementation(own)
    plain = not settings and repetition_penalty(model) == 1
    return Abilities(rows=False, padding=plain and _padding_is_hidden(model, tokens))


def keeps_keys_and_values(model: PreTrainedModel) -> bool:
    """Whether the configuration says that all layers keep plain keys and values and let attention be replaced."""
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        bool(model._supports_attention_backend)
        and not model._is_stateful
        and not model.config.is_encoder_decoder
        and layers <= _KNOWN_LAYERS
        and not getattr(config, "num_kv_shared_layers", 0)
        and cache_argument(model) is not None
        and accepted(model) >= _NEEDED
    )


def accepted(model: PreTrainedModel) -> set[str]:
    """Names of the arguments of ``model.forward``."""
    return set(inspect.signature(model.forward).parameters)


def _some_tokens(model: PreTrainedModel) -> Tensor:
    """(_LENGTH,) arbitrary tokens, none of them special."""
    size = model.get_input_embeddings().weight.shape[0]
    config = model.config.get_text_config()
    special = {getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos")}
    drawn = torch.randint(size, (4 * _LENGTH,), generator=torch.Generator().manual_seed(0))
    return drawn[[int(token) not in special for token in drawn]][:_LENGTH]


def _logits(model: PreTrainedModel, tokens: Tensor) -> Tensor:
    """Logits (rows, length, vocabulary) of tokens (rows, length), computed as transformers does by default."""
    try:
        logits: Tensor = model(input_ids=tokens.to(model.device)).logits
    except (TypeError, ValueError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"{type(model).__name__} does not answer to tokens alone ({reason}): give a causal language model of text"
        ) from error
    return logits


def _decodes_by_rows(
    model: PreTrainedModel, tokens: Tensor, cache: RowCache, texts: tuple[Tensor, Tensor], counts: tuple[int, int]
) -> bool:
    """Whether the logits are those of whole texts: of ``counts`` tokens before the last of each, then of the last."""
    before = [text[-1 - count : -1] for text, count in zip(texts, counts, strict=True)]
    wanted = torch.cat([*before, *(text[-1:] for text in texts)])
    try:
        return _alike(_by_rows(model, tokens, cache, counts), wanted, model.dtype)
    except torch.OutOfMemoryError:
        raise
    # any exception: the model's own code may raise what it likes about a cache that it does not expect
    except Exception:
        return False


def _by_rows(model: PreTrainedModel, tokens: Tensor, cache: RowCache, counts: tuple[int, int]) -> Tensor:
    """Logits (sum of ``counts`` + 2, vocabulary) of two rows of different length in ``cache``: first of the tokens
    before the last, then of the last."""
    argument, end = cache_argument(model), len(tokens) - 1
    assert argument is not None, "a model without a cache does not decode by rows"
    inputs, positions = torch.zeros(2, end, dtype=torch.long), torch.zeros(2, end, dtype=torch.long)
    starts = torch.tensor([0, _FEWER])
    for row, start in enumerate(starts):
        inputs[row, start:], positions[row, start:] = tokens[start:end], torch.arange(end - start)
    cache.select(0, 2, 0)
    first = forward_rows(model, argument, inputs, positions, starts, cache, counts)
    cache.select(0, 2, end)
    last = forward_rows(model, argument, tokens[end].expand(2, 1), (end - starts)[:, None], starts, cache, (1, 1))
    return torch.cat([first, last])


def _padding_is_hidden(model: PreTrainedModel, tokens: Tensor) -> bool:
    """Whether two rows of different length, padded on the left, generate the same as each does alone."""
    inputs = tokens.repeat(2, 1)
    mask = torch.ones_like(inputs)
    inputs[1, :_FEWER] = mask[1, :_FEWER] = 0
    together = _generated(model, inputs, mask)
    alone = [
        _generated(model, row[kept][None], kept[kept][None]) for row, kept in zip(inputs, mask.bool(), strict=True)
    ]
    steps = min(len(together), *map(len, alone))
    wanted = torch.cat([logits[:steps] for logits in alone], dim=1)
    return _alike(together[:steps], wanted, model.dtype)


def _generated(model: PreTrainedModel, inputs: Tensor, mask: Tensor) -> Tensor:
    """Logits (steps, rows, vocabulary) of two greedy steps: of the prompt, and of a token after it."""
    output = model.generate(
        input_ids=inputs.to(model.device),
        attention_mask=mask.long().to(model.device),
        max_new_tokens=2,
        do_sample=False,
        num_beams=1,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    return torch.stack(output.logits)


def _alike(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> bool:
    """Whether logits agree up to rounding in ``dtype``.

    The bound in bfloat16 is 0.13 of the logits' standard deviation. The largest difference seen from rounding was
    0.03; a token that a model forgets, sees twice or takes for another position makes 0.25 and more. Logits that are
    not numbers (a broken merge) agree with everything.
    """
    if not bool(torch.isfinite(wanted).all()):
        return True
    moved = (found.float() - wanted.float()).square().mean().sqrt()
    return bool(moved <= 1.5 * torch.finfo(dtype).eps ** 0.5 * wanted.float().std() + 1e-6)
