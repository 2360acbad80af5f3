"""Load a model as a plain server would: by itself, or a base whose PEFT adapters are switched per request."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch
from peft import PeftModelForCausalLM
from torch import Tensor
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from evomerge.errors import UserError
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.adapters.updates import updates_on
from evomerge.weights.checkpoint import Checkpoint

ALONE = "one model"
ADAPTER = "one adapter"
SWITCHING = "switching"
MIXED = "mixed batch"


class CannotMix(Exception):
    """PEFT answers no mixed batch with adapters of this kind; the message is PEFT's."""


@dataclass(frozen=True)
class Serving:
    """A model to serve.

    Attributes:
        name: its name in tables.
        model: model folder.
        adapters: folders of PEFT adapters made for ``model``; all are loaded, none is merged.
    """

    name: str
    model: str
    adapters: tuple[str, ...] = ()

    @property
    def ways(self) -> tuple[str, ...]:
        """How a batch of requests can be answered.

        ``one model`` and ``one adapter`` answer it in one piece. With several adapters the requests want different
        ones: ``switching`` sorts them by adapter and answers one group after the other, each after PEFT's
        ``set_adapter``; ``mixed batch`` answers all together, with PEFT's ``adapter_names``.
        """
        if not self.adapters:
            return (ALONE,)
        return (ADAPTER,) if len(self.adapters) == 1 else (SWITCHING, MIXED)


@dataclass(frozen=True)
class Answered:
    """A batch of requests, answered; times in seconds.

    Attributes:
        first: per row, from the batch's arrival to the row's first token: groups wait for those before them.
        step: time in which every row gets one more token; of groups it is the sum.
        total: from the batch's arrival to its last token.
        tokens: (rows, new tokens).
    """

    first: tuple[float, ...]
    step: float
    total: float
    tokens: Tensor


class ServedModel:
    """``serving``, loaded by transformers and PEFT with their defaults, their own attention and ``generate``.

    PEFT keeps the adapters in float32 beside a 16-bit base; that is its default too.

    Raises:
        UserError: the folder cannot be loaded, or an adapter was made for another base.
    """

    def __init__(self, serving: Serving, dtype: str = "bfloat16", device: str = "cpu") -> None:
        for folder in serving.adapters:
            updates_on(Adapter(folder), Checkpoint(serving.model))
        self._names = [_name(number) for number in range(len(serving.adapters))]
        self._source = serving, dtype, device
        self._model: PreTrainedModel | PeftModelForCausalLM = _load(*self._source)
        config = self._model.config.get_text_config()
        self.vocabulary: int = config.vocab_size
        self.context: int | None = getattr(config, "max_position_embeddings", None)

    def answer(self, prompts: Tensor, new_tokens: int, way: str, arrived: int = 0) -> Answered:
        """Greedy answers of exactly ``new_tokens`` tokens: the end token is ignored.

        Args:
            prompts: (rows, length) token ids, without padding.
            new_tokens: at least 2.
            way: one of the serving's.
            arrived: requests that came before; number i wants adapter i modulo their number, so that small batches
                come to all adapters too.

        Raises:
            CannotMix: of a mixed batch.
        """
        rows = prompts.shape[0]
        wanted = [self._names[(arrived + row) % len(self._names)] for row in range(rows)] if self._names else []
        began = time.perf_counter()
        if way != SWITCHING:
            answer = self._mix(prompts, new_tokens, wanted) if way == MIXED else self._generate(prompts, new_tokens)
            return self._together([(list(range(rows)), *answer)], began)
        groups = []
        for name in dict.fromkeys(wanted):
            group = [row for row in range(rows) if wanted[row] == name]
            self._model.set_adapter(name)
            groups.append((group, *self._generate(prompts[group], new_tokens)))
        return self._together(groups, began)

    def _mix(self, prompts: Tensor, new_tokens: int, wanted: list[str]) -> tuple[list[float], Tensor]:
        try:
            return self._generate(prompts, new_tokens, adapter_names=wanted)
        except (ValueError, TypeError) as error:
            self._model = _load(*self._source)  # peft left its hooks in the model
            raise CannotMix(str(error).strip().splitlines()[0]) from error

    def _generate(self, prompts: Tensor, new_tokens: int, **extra: Any) -> tuple[list[float], Tensor]:
        """When each token came, and the tokens."""
        clock = _Clock()
        tokens = self._model.generate(
            input_ids=prompts,
            attention_mask=torch.ones_like(prompts),
            max_new_tokens=new_tokens,
            streamer=clock,
            **extra,
        )
        assert len(clock.times) == new_tokens + 1, "generate shows the prompt, then every token"
        return clock.times[1:], tokens[:, prompts.shape[1] :]

    def _together(self, groups: list[tuple[list[int], list[float], Tensor]], began: float) -> Answered:
        first = {row: times[0] - began for group, times, _ in groups for row in group}
        tokens = {row: line for group, _, lines in groups for row, line in zip(group, lines, strict=True)}
        return Answered(
            first=tuple(first[row] for row in sorted(first)),
            step=sum((times[-1] - times[0]) / (len(times) - 1) for _, times, _ in groups),
            total=groups[-1][1][-1] - began,
            tokens=torch.stack([tokens[row] for row in sorted(tokens)]),
        )


class _Clock:
    """A streamer of ``generate``: notes when the prompt and each token pass. They come on the CPU, so a GPU is done."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        pass


def _load(serving: Serving, dtype: str, device: str) -> PreTrainedModel | PeftModelForCausalLM:
    folder = serving.model
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).to(device)
        # The folder's own settings name an end token and may sample.
        model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)
        for number, folder in enumerate(serving.adapters):
            if number == 0:
                # this class whatever the adapter's task_type: the others' generate knows no adapter_names
                model = PeftModelForCausalLM.from_pretrained(model, folder, adapter_name=_name(number))
            else:
                model.load_adapter(folder, adapter_name=_name(number))
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"cannot load {folder} ({reason}): give the folder of a causal language model, "
            "and of PEFT adapters made for it"
        ) from error
    return model.eval().requires_grad_(False)


def _name(number: int) -> str:
    """PEFT's name of an adapter; it may not hold a dot, as folders' names do."""
    return f"adapter{number}"
