"""Log-likelihoods of given continuations, in batches."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from evomerge.evaluation.backend.prefix import Tokens
from evomerge.evaluation.backend.text import TextCodec, context_length


@torch.inference_mode()
def loglikelihoods(
    model: PreTrainedModel, codec: TextCodec, requests: Sequence[tuple[str, str]], rows: int, tokens: int
) -> list[tuple[float, bool]]:
    """Of each (context, continuation): log-probability in nats, float32, and whether every token is the most likely.

    Context and continuation are split as lm-evaluation-harness does: the whole text is tokenised and cut after the
    context's tokens; blanks at the end of the context count as the continuation's; an empty context is BOS (or EOS).

    Args:
        rows, tokens: bounds on a batch.
    """
    pairs = [_split(codec, *request) for request in requests]
    return _of_tokens(model, codec, pairs, rows, tokens)


@torch.inference_mode()
def rolling_loglikelihoods(
    model: PreTrainedModel, codec: TextCodec, texts: Sequence[str], rows: int, tokens: int
) -> list[float]:
    """Log-probability in nats of each text, its first token after BOS (or EOS).

    A text longer than the context is scored in windows as lm-evaluation-harness does: disjoint, but the last one
    reaches back to be as long as the others; of each window all tokens that the one before did not score.
    """
    limit = context_length(model, codec.tokenizer)
    pairs: list[tuple[Tokens, Tokens]] = []
    owner: list[int] = []
    for number, text in enumerate(texts):
        given = tuple(codec.tokenizer(text, add_special_tokens=False)["input_ids"])
        for start in range(0, len(given), limit):
            new = given[start : start + limit]
            # One token of context for a full window, more for a shorter last one; before the first token stands BOS.
            before = given[max(0, start + len(new) - limit - 1) : start] if start else (_first(codec),)
            pairs.append((before, new))
            owner.append(number)
    totals = [0.0] * len(texts)
    for number, (value, _) in zip(owner, _of_tokens(model, codec, pairs, rows, tokens), strict=True):
        totals[number] += value
    return totals


def _of_tokens(
    model: PreTrainedModel, codec: TextCodec, pairs: Sequence[tuple[Tokens, Tokens]], rows: int, tokens: int
) -> list[tuple[float, bool]]:
    limit = context_length(model, codec.tokenizer)
    device = model.device
    results: list[tuple[float, bool]] = [(0.0, True)] * len(pairs)
    order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i][0]) - len(pairs[i][1]))
    while order:
        width = min(limit, sum(map(len, pairs[order[0]])) - 1)
        count = max(1, min(rows, tokens // max(width, 1)))
        batch, order = order[:count], order[count:]
        kept = max(len(pairs[i][1]) for i in batch)
        inputs = torch.zeros(len(batch), width, dtype=torch.long)
        mask = torch.zeros(len(batch), width, dtype=torch.bool)
        for k, i in enumerate(batch):
            text = (pairs[i][0] + pairs[i][1])[-(limit + 1) :][:-1]
            inputs[k, width - len(text) :] = torch.tensor(text)
            mask[k, width - len(text) :] = True
        positions = (mask.long().cumsum(-1) - 1).clamp_(min=0)
        logits = model(
            input_ids=inputs.to(device),
            attention_mask=mask.to(device),
            position_ids=positions.to(device),
            use_cache=False,
            logits_to_keep=kept,  # aligned right, the continuations end the rows
        ).logits
        for k, i in enumerate(batch):
            wanted = torch.tensor(pairs[i][1][-width:], device=device)
            found = torch.log_softmax(logits[k, -len(wanted) :].float(), dim=-1)
            value = found.gather(-1, wanted[:, None]).sum()
            results[i] = float(value), bool((found.argmax(-1) == wanted).all())
    return results


def _split(codec: TextCodec, context: str, continuation: str) -> tuple[Tokens, Tokens]:
    """Tokens of context and continuation, neither empty."""
    tokenizer = codec.tokenizer
    if not context:
        bos = _first(codec)
        given = tuple(tokenizer(continuation, add_special_tokens=False)["input_ids"])
        return ((bos,), given) if given[0] != bos else (given[:1], given[1:])
    bare = context.rstrip()
    continuation = context[len(bare) :] + continuation
    whole, head = codec.encode(bare + continuation), codec.encode(bare)
    return head, whole[len(head) :]


def _first(codec: TextCodec) -> int:
    """What stands before a text's first token."""
    tokenizer = codec.tokenizer
    return int(tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id)
