"""Compute log-likelihoods of given continuations in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from transformers import PreTrainedModel

from evomerge.errors import UserError
from evomerge.inference.answer_text import TextCodec, context_length
from evomerge.inference.memory_limits import Limits
from evomerge.inference.prefix import Tokens
from evomerge.inference.probe_model import accepted


@torch.inference_mode()
def loglikelihoods(
    model: PreTrainedModel, codec: TextCodec, requests: Sequence[tuple[str, str]], limits: Limits, padding: bool = True
) -> list[tuple[float, bool]]:
    """Log-probability of each continuation after its context, in nats, and whether each of its tokens is the likeliest.

    Context and continuation are split as lm-evaluation-harness does: the whole text is tokenised and cut after the
    context's tokens; blanks at the end of the context count as the continuation's; an empty context is BOS (or EOS).

    Args:
        limits: rows and prompt tokens of a batch.
        padding: whether texts of different length may share a batch (see ``Abilities``).
    """
    pairs = [split(codec, *request) for request in requests]
    return _of_tokens(model, codec, pairs, limits, padding)


@torch.inference_mode()
def rolling_loglikelihoods(
    model: PreTrainedModel, codec: TextCodec, texts: Sequence[str], limits: Limits, padding: bool = True
) -> list[float]:
    """Log-probability in nats of each text with the special tokens that its tokenizer adds, after BOS (or EOS)."""
    pairs = [((_first(codec),), codec.encode(text)) for text in texts]
    return [value for value, _ in _of_tokens(model, codec, pairs, limits, padding)]


def _of_tokens(
    model: PreTrainedModel, codec: TextCodec, pairs: Sequence[tuple[Tokens, Tokens]], limits: Limits, padding: bool
) -> list[tuple[float, bool]]:
    context = context_length(model, codec.tokenizer)
    windows = [(owner, *window) for owner, pair in enumerate(pairs) for window in _windows(*pair, context)]
    windows.sort(key=lambda window: -len(window[1]) - len(window[2]))
    values, greedy = [0.0] * len(pairs), [True] * len(pairs)
    names = accepted(model)
    while windows:
        width = len(windows[0][1]) + len(windows[0][2]) - 1
        count = max(1, min(limits.rows, limits.prefill_tokens // width))
        batch = [(o, before, new) for o, before, new in windows[:count] if padding or len(before) + len(new) > width]
        windows = windows[len(batch) :]
        # Padded on the right, where a causal model does not look: it needs neither mask nor positions.
        inputs = torch.zeros(len(batch), width, dtype=torch.long)
        for row, (_, before, new) in zip(inputs, batch, strict=True):
            row[: len(before) + len(new) - 1] = torch.tensor((before + new)[:-1])
        first = min(len(before) for _, before, _ in batch) - 1  # its logits are the first that are needed
        given = {"use_cache": False, "logits_to_keep": width - first}
        logits = model(input_ids=inputs.to(model.device), **{k: v for k, v in given.items() if k in names}).logits
        logits = logits[:, first - width :]
        for k, (owner, before, new) in enumerate(batch):
            start = len(before) - 1 - first
            wanted = torch.tensor(new, device=logits.device)
            found = torch.log_softmax(logits[k, start : start + len(new)].float(), dim=-1)
            values[owner] += float(found.gather(-1, wanted[:, None]).sum())
            greedy[owner] &= bool((found.argmax(-1) == wanted).all())
    return list(zip(values, greedy, strict=True))


def _windows(context: Tokens, continuation: Tokens, limit: int) -> Iterator[tuple[Tokens, Tokens]]:
    """(before, new) pairs that fit ``limit`` tokens of input and whose new tokens make up the continuation.

    As lm-evaluation-harness rolls over a text: disjoint, and each reaches back as far as it can.
    """
    text = context + continuation
    for start in range(len(context), len(text), limit):
        end = min(start + limit, len(text))
        yield text[max(0, end - limit - 1) : start], text[start:end]


def split(codec: TextCodec, context: str, continuation: str) -> tuple[Tokens, Tokens]:
    """Tokens of context and continuation; the context has at least one."""
    bare = context.rstrip()
    continuation = context[len(bare) :] + continuation
    head = codec.encode(bare) if bare else ()
    new = codec.encode(bare + continuation)[len(head) :] if head else ()
    if not new:  # the context is empty, or its end and the continuation's start became one token
        new = tuple(codec.tokenizer(continuation, add_special_tokens=False)["input_ids"])
    if not head:
        head = (_first(codec),)
        new = new[1:] if new[:1] == head else new
    return head, new


def _first(codec: TextCodec) -> int:
    """The token that precedes a text's first token."""
    tokenizer = codec.tokenizer
    found = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if found is None:
        raise UserError(
            "the tokenizer has neither bos_token nor eos_token, one of which stands before a text without a context: "
            "name one in tokenizer_config.json"
        )
    return int(found)
