"""Choose a row's next token from its logits: the likeliest, or a seeded sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from evomerge.inference.backend import GenerationRequest

# Settings of generation_config.json that change greedy answers, beside a repetition penalty, and the values with which
# they change nothing. Beam search is not listed: answers are greedy here.
_SETTINGS: dict[str, tuple[Any, ...]] = {
    "encoder_repetition_penalty": (1.0,),
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "bad_words_ids": ([],),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "exponential_decay_length_penalty": (),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "sequence_bias": ({},),
    "guidance_scale": (1.0,),
    "watermarking_config": (),
    "stop_strings": ([],),
}


def argmax(logits: Tensor) -> Tensor:
    """Index of the first largest entry of each row of ``logits`` (rows, vocabulary).

    torch.argmax of bfloat16 on a CPU takes ten times the matrix product that made the logits; amax is vectorised, and
    then only the block that holds the maximum is searched.
    """
    rows, vocabulary = logits.shape
    block = next((size for size in (512, 256, 128, 64) if vocabulary % size == 0), 0)
    if logits.device.type != "cpu" or not block:
        return logits.argmax(-1)
    blocks = logits.view(rows, -1, block)
    best = blocks.amax(-1).float().argmax(-1)
    inside = blocks[torch.arange(rows), best].float().argmax(-1)
    return best * block + inside


def sample(logits: Tensor, request: GenerationRequest, step: int) -> int:
    """A token of softmax(logits / temperature), shape (vocabulary,), by the Gumbel-max trick.

    The noise depends on the request's seed and the step alone, not on the row's neighbours.
    """
    noise = torch.Generator().manual_seed((request.seed << 20) + step)
    uniform = torch.rand(logits.shape, generator=noise, dtype=torch.float64).clamp_(min=1e-300)
    return int((logits.double().cpu() / request.temperature - (-uniform.log()).log()).argmax())


def repetition_penalty(model: PreTrainedModel) -> float:
    """The repetition penalty of the model's generation config; 1 is none."""
    penalty = getattr(model.generation_config, "repetition_penalty", None)
    return 1.0 if penalty is None else float(penalty)


def penalized(logits: Tensor, texts: Sequence[Sequence[int]], penalty: float) -> Tensor:
    """``logits`` (rows, vocabulary) in float32, with a penalty on tokens that the row's text holds
    (arXiv:1909.05858)."""
    found = logits.to(torch.float32, copy=True)
    for row, text in zip(found, texts, strict=True):
        seen = torch.tensor(text, device=row.device)
        row[seen] = torch.where(row[seen] < 0, row[seen] * penalty, row[seen] / penalty)
    return found


def other_settings(model: PreTrainedModel) -> list[str]:
    """Names of the settings, beside a repetition penalty, that the model's generation config has for greedy
    decoding."""
    config = model.generation_config or GenerationConfig()
    values = {name: getattr(config, name, None) for name in _SETTINGS}
    return [name for name, value in values.items() if value is not None and value not in _SETTINGS[name]]
