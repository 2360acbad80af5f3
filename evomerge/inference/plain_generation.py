"""Decode with transformers' own ``generate``, for models that the fast decoder does not know."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import torch
from transformers import PreTrainedModel, StoppingCriteria, StoppingCriteriaList

from evomerge.inference.answer_text import TextCodec, end_tokens
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.deadline import Watch


class _Stop(StoppingCriteria):  # type: ignore[misc]
    """Stopping rule that notes for each row how many tokens its answer has, and whether it was cut off."""

    def __init__(
        self,
        codec: TextCodec,
        batch: Sequence[tuple[int, GenerationRequest]],
        prompt: int,
        ends: Set[int],
        watch: Watch,
    ) -> None:
        self._codec, self._batch, self._prompt, self._ends, self._watch = codec, batch, prompt, ends, watch
        self.lengths: list[int | None] = [None] * len(batch)
        self.cut = [False] * len(batch)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        self._watch.step()
        answers = input_ids[:, self._prompt :].tolist()
        growing = [k for k, length in enumerate(self.lengths) if length is None]
        for k in growing:
            self._watch.passed(self._batch[k][0])
            self._watch.token(self._batch[k][0])
        for k in growing:
            index, request = self._batch[k]
            answer = answers[k]
            if answer[-1] in self._ends:
                self.lengths[k] = len(answer) - 1
            elif len(answer) >= request.max_new_tokens or self._codec.stopped(answer, request.until):
                self.lengths[k] = len(answer)
            elif self._watch.spent(index):
                self.lengths[k], self.cut[k] = len(answer), True
        return torch.tensor([length is not None for length in self.lengths], device=input_ids.device)


@torch.inference_mode()
def generate_plainly(
    model: PreTrainedModel,
    codec: TextCodec,
    requests: Sequence[GenerationRequest],
    rows: int,
    watch: Watch | None = None,
    padding: bool = True,
) -> list[str]:
    """Answers in the order of ``requests``, ``rows`` at a time, longest prompts first.

    Args:
        padding: whether prompts of different length may share a batch (see ``Abilities``).
    """
    watch = watch or Watch()
    ends = end_tokens(model, codec)
    pad = min(ends, default=0)
    # Only then: some models give this argument another meaning.
    stop_strings = {"tokenizer": codec.tokenizer} if getattr(model.generation_config, "stop_strings", None) else {}
    answers = [""] * len(requests)
    prompts = [codec.prompt(model, request) for request in requests]
    order = sorted(range(len(requests)), key=lambda i: -len(prompts[i]))
    while order:
        width = len(prompts[order[0]])
        together = [i for i in order[:rows] if padding or len(prompts[i]) == width]
        order = order[len(together) :]
        batch = [i for i in together if not watch.spent(i)]
        for i in set(together).difference(batch):
            watch.end(i, "", cut=True)
        if not batch:
            continue
        inputs = torch.full((len(batch), width), pad)
        mask = torch.zeros(len(batch), width, dtype=torch.long)
        for k, i in enumerate(batch):
            inputs[k, width - len(prompts[i]) :] = torch.tensor(prompts[i])
            mask[k, width - len(prompts[i]) :] = 1
        stop = _Stop(codec, [(i, requests[i]) for i in batch], width, ends, watch)
        output = model.generate(
            input_ids=inputs.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=max(requests[i].max_new_tokens for i in batch),
            do_sample=False,
            num_beams=1,
            **stop_strings,
            eos_token_id=sorted(ends) or None,
            pad_token_id=pad,
            stopping_criteria=StoppingCriteriaList([stop]),
        )
        for k, (i, tokens) in enumerate(zip(batch, output[:, width:].tolist(), strict=True)):
            answers[i] = codec.answer(tokens[: stop.lengths[k]], requests[i].until)
            watch.end(i, answers[i], stop.cut[k])
    return answers
