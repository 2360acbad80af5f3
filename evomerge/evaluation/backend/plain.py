"""Greedy decoding through transformers' own ``generate``: for models the fast decoder does not know."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from evomerge.evaluation.backend.base import GenerationRequest
from evomerge.evaluation.backend.text import TextCodec, end_tokens

# What the fast decoder's cache can hold. Recurrent states, chunked attention and convolutions are not among it.
_KNOWN_LAYERS = {"full_attention", "sliding_attention"}
_NEEDED = {"position_ids", "past_key_values", "logits_to_keep", "attention_mask"}


def is_plain_attention(model: PreTrainedModel) -> bool:
    """Whether every layer keeps plain keys and values and takes its attention function from the config."""
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        bool(model._supports_attention_backend)
        and not model._is_stateful
        and not model.config.is_encoder_decoder
        and layers <= _KNOWN_LAYERS
        and not getattr(config, "num_kv_shared_layers", 0)
        and set(inspect.signature(model.forward).parameters) >= _NEEDED
    )


class _Stop(StoppingCriteria):  # type: ignore[misc]
    """Per row: whether the answer has come to one of its stop strings."""

    def __init__(self, codec: TextCodec, requests: Sequence[GenerationRequest], prompt: int) -> None:
        self._codec, self._requests, self._prompt = codec, requests, prompt
        self._done = [False] * len(requests)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        answers = input_ids[:, self._prompt :].tolist()
        self._done = [
            done or len(answer) >= request.max_new_tokens or self._codec.stopped(answer, request.until)
            for done, answer, request in zip(self._done, answers, self._requests, strict=True)
        ]
        return torch.tensor(self._done, device=input_ids.device)


@torch.inference_mode()
def generate_plainly(
    model: PreTrainedModel, codec: TextCodec, requests: Sequence[GenerationRequest], rows: int
) -> list[str]:
    """Answers in the order of ``requests``, ``rows`` at a time, longest prompts first."""
    ends = sorted(end_tokens(model, codec))
    answers = [""] * len(requests)
    prompts = [codec.prompt(model, request) for request in requests]
    order = sorted(range(len(requests)), key=lambda i: -len(prompts[i]))
    for first in range(0, len(order), rows):
        batch = order[first : first + rows]
        width = len(prompts[batch[0]])
        inputs = torch.full((len(batch), width), ends[0] if ends else 0)
        mask = torch.zeros(len(batch), width, dtype=torch.long)
        for k, i in enumerate(batch):
            inputs[k, width - len(prompts[i]) :] = torch.tensor(prompts[i])
            mask[k, width - len(prompts[i]) :] = 1
        chosen = [requests[i] for i in batch]
        output = model.generate(
            input_ids=inputs.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max(request.max_new_tokens for request in chosen),
            do_sample=False,
            eos_token_id=ends or None,
            pad_token_id=ends[0] if ends else 0,
            stopping_criteria=StoppingCriteriaList([_Stop(codec, chosen, width)]),
        )
        for i, request, tokens in zip(batch, chosen, output[:, width:].tolist(), strict=True):
            tokens = tokens[: request.max_new_tokens]
            cut = next((n for n, token in enumerate(tokens) if token in ends), len(tokens))
            answers[i] = codec.answer(tokens[:cut], request.until)
    return answers
