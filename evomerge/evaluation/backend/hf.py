"""The transformers backend: one model in memory, merged in place or in core space, on a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from evomerge.engine.live import LiveModel
from evomerge.engine.merge import Merger
from evomerge.engine.population import Population
from evomerge.errors import UserError
from evomerge.evaluation.backend import attention
from evomerge.evaluation.backend.base import BACKENDS, GenerationRequest
from evomerge.evaluation.backend.generation import GreedyDecoder, Limits, SetRows
from evomerge.evaluation.backend.plain import generate_plainly, is_plain_attention
from evomerge.evaluation.backend.scoring import loglikelihoods, rolling_loglikelihoods
from evomerge.evaluation.backend.text import TextCodec
from evomerge.evaluation.backend.watch import Watch
from evomerge.types import Artefact, Recipe


@BACKENDS.register("hf")
class HFBackend:
    """See :class:`evomerge.evaluation.backend.base.Backend`.

    Args:
        base_folder: the base model's folder.
        merger: merges the experts of the recipes to come; None if only artefacts will be loaded.
        dtype: torch dtype name the models run in.
        device: torch device.
        batch_size: rows decoded together.
        threads: threads of torch in this process; None leaves them as they are.
    """

    can_sample: ClassVar[bool] = True

    def __init__(
        self,
        base_folder: Path | str,
        merger: Merger | None = None,
        dtype: str = "bfloat16",
        device: str = "cpu",
        batch_size: int = 64,
        threads: int | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._merger = merger
        self._dtype, self._device = dtype, device
        self._limits = Limits(rows=batch_size)
        self._base_folder = base_folder
        self._population: Population | None = None
        self._shared = 0  # number of candidates that answer together, 0 or 1: the weights are in the model itself
        self._one_by_one: tuple[Recipe, ...] = ()
        self._loaded: _Ready | None = None

    @cached_property
    def _live(self) -> LiveModel:
        """Loaded when the first recipe comes: who only scores folders shall not hold a second model."""
        return LiveModel(self._base_folder, self._dtype, self._device)

    @cached_property
    def _base(self) -> _Ready:
        return _ready(self._live.model, TextCodec(self._live.tokenizer))

    def apply(self, recipes: Sequence[Recipe]) -> None:
        """One recipe is merged in place. Several LoRA recipes share each forward; other several come one by one."""
        assert self._merger is not None, "apply needs a merger"
        assert recipes, "no recipes"
        self._loaded, self._one_by_one = None, ()
        if len(recipes) == 1:
            self._leave_population()
            self._live.apply(self._merger, recipes[0])
        elif self._base.fast and (space := self._merger.shared_core_space(recipes)) is not None:
            if self._population is None or self._population.space is not space:
                self._leave_population()
                self._population = Population(self._live, space)
            self._population.install(recipes)
            self._shared = len(recipes)
        else:
            self._leave_population()
            self._one_by_one = tuple(recipes)

    def load(self, artefact: Artefact) -> None:
        """Read the folder's model; an adapter is merged into it."""
        self._leave_population()
        self._loaded, self._one_by_one = None, ()
        try:
            model = AutoModelForCausalLM.from_pretrained(artefact.model, dtype=getattr(torch, self._dtype))
            if artefact.adapter is not None:
                model = PeftModel.from_pretrained(model, artefact.adapter).merge_and_unload()
            tokenizer = AutoTokenizer.from_pretrained(artefact.model)
        except (ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"cannot load {artefact.model}{f' with {artefact.adapter}' if artefact.adapter else ''} ({reason}): "
                "give the folder of a causal language model with its tokenizer, and of a PEFT adapter made for it"
            ) from error
        model.to(self._device).eval().requires_grad_(False)
        self._loaded = _ready(model, TextCodec(tokenizer))

    def restore(self) -> None:
        self._loaded, self._one_by_one = None, ()
        self._leave_population()
        self._live.restore()

    def generate(self, requests: Sequence[GenerationRequest], watch: Watch | None = None) -> list[str]:
        if not self._one_by_one:
            set_rows = self._population.set_rows if self._shared and self._population else None
            return self._generate(requests, set_rows, watch)
        assert self._merger is not None and watch is None, "a watch is for candidates that answer together"
        answers = [""] * len(requests)
        for candidate, recipe in enumerate(self._one_by_one):
            mine = [i for i, request in enumerate(requests) if request.candidate == candidate]
            self._live.apply(self._merger, recipe)
            for i, answer in zip(mine, self._generate([requests[i] for i in mine], None, None), strict=True):
                answers[i] = answer
        return answers

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        assert self._shared <= 1 and not self._one_by_one, "log-likelihoods are of one candidate: apply one recipe"
        model, codec = self._current.model, self._current.codec
        return loglikelihoods(model, codec, requests, self._limits.rows, self._limits.prefill_tokens)

    def loglikelihood_rolling(self, texts: Sequence[str]) -> list[float]:
        assert self._shared <= 1 and not self._one_by_one, "log-likelihoods are of one candidate: apply one recipe"
        model, codec = self._current.model, self._current.codec
        return rolling_loglikelihoods(model, codec, texts, self._limits.rows, self._limits.prefill_tokens)

    def _generate(
        self, requests: Sequence[GenerationRequest], set_rows: SetRows | None, watch: Watch | None
    ) -> list[str]:
        model, codec = self._current.model, self._current.codec
        if not self._current.fast:
            if any(request.temperature for request in requests):
                raise UserError(
                    "no samples from a model of this kind (it has layers without keys and values): leave samples at 1"
                )
            return generate_plainly(model, codec, requests, self._limits.rows, watch)
        if set_rows is None:  # one model answers all: requests of several candidates share their prefixes
            requests = [replace(request, candidate=0) for request in requests]
        return GreedyDecoder(model, codec, self._limits, set_rows).generate(requests, watch)

    @property
    def _current(self) -> _Ready:
        return self._loaded or self._base

    def _leave_population(self) -> None:
        if self._population is not None:
            self._population.remove()
        self._shared = 0


@dataclass(frozen=True)
class _Ready:
    """A model ready to generate; ``fast``: the fast decoder knows its kind."""

    model: PreTrainedModel
    codec: TextCodec
    fast: bool


def _ready(model: PreTrainedModel, codec: TextCodec) -> _Ready:
    """Give ``model`` the fast attention if the fast decoder knows it."""
    fast = is_plain_attention(model)
    if fast:
        attention.install(model)
        head = model.get_output_embeddings()
        if head is not None:
            head.register_forward_pre_hook(_contiguous)
    return _Ready(model, codec, fast)


def _contiguous(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The last position of each row, cut out of a prefill, is strided: torch would multiply row by row, 100 ms each."""
    return (inputs[0].contiguous(), *inputs[1:])
