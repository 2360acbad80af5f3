"""Transformers backend: one model in memory, merged in place, on a CPU or a GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from evomerge.engine.live_model import LiveModel
from evomerge.engine.merger import Merger
from evomerge.engine.threads import threads_of_torch
from evomerge.errors import UserError
from evomerge.inference.answer_text import TextCodec
from evomerge.inference.backend import BACKENDS, GenerationRequest
from evomerge.inference.deadline import Watch
from evomerge.inference.generation import GreedyDecoder
from evomerge.inference.learning.answer_loss import AnswerLoss, differentiable
from evomerge.inference.learning.learn import learn
from evomerge.inference.learning.settings import LearnSettings
from evomerge.inference.learning.targets import Target
from evomerge.inference.learning.tokens import tokenize
from evomerge.inference.learning.weighted_layers import WeightedLayers
from evomerge.inference.log_likelihood import loglikelihoods, rolling_loglikelihoods
from evomerge.inference.memory_limits import CACHE_BYTES, Limits
from evomerge.inference.plain_generation import generate_plainly
from evomerge.inference.probe_model import Abilities, prepare
from evomerge.types import Artifact, Learned, Recipe

# Tokens of one pass of learning on a GPU.
_GPU_TOKENS = 4096
# Texts of torch's errors, on a GPU and on a CPU.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


@BACKENDS.register("hf")
class HFBackend:
    """See :class:`evomerge.inference.backend.Backend`.

    Args:
        base_folder: the base model's folder.
        merger: merges the experts of the recipes to come; None if only artifacts will be loaded.
        dtype: torch dtype name the models run in.
        device: torch device.
        batch_size: rows decoded together.
        threads: threads of torch in this process; None leaves them as they are.
        drafts: whether known answers are verified instead of generated anew.
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
        drafts: bool = True,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self._merger = merger
        self._dtype, self._device = dtype, device
        self._batch_size = batch_size
        self._drafts = drafts
        self._base_folder = base_folder
        self._loaded: _Ready | None = None

    @cached_property
    def _live(self) -> LiveModel:
        """Loaded with the first recipe: a worker that only scores folders holds no second model."""
        with self._memory(self._base_folder):
            return LiveModel(self._base_folder, self._dtype, self._device)

    @cached_property
    def _base(self) -> _Ready:
        with self._memory(self._base_folder):
            return _ready(self._live.model, TextCodec(self._live.tokenizer))

    def apply(self, recipe: Recipe) -> None:
        assert self._merger is not None, "apply needs a merger"
        self._loaded = None
        _ = self._base  # probed before the merge: a probe must see the base's weights
        with self._memory("the merge"):
            self._live.apply(self._merger, recipe)

    def load(self, artifact: Artifact) -> None:
        """Read the folder's model; an adapter is merged into it."""
        self._loaded = None
        try:
            model = AutoModelForCausalLM.from_pretrained(artifact.model, dtype=getattr(torch, self._dtype))
            if artifact.adapter is not None:
                model = PeftModel.from_pretrained(model, artifact.adapter).merge_and_unload()
            tokenizer = AutoTokenizer.from_pretrained(artifact.model)
        except (ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"cannot load {artifact.model}{f' with {artifact.adapter}' if artifact.adapter else ''} ({reason}): "
                "give the folder of a causal language model with its tokenizer, and of a PEFT adapter made for it"
            ) from error
        with self._memory(artifact.model):
            model.to(self._device).eval().requires_grad_(False)
            self._loaded = _ready(model, TextCodec(tokenizer))

    def restore(self) -> None:
        self._loaded = None
        self._live.restore()

    def generate(self, requests: Sequence[GenerationRequest], watch: Watch | None = None) -> list[str]:
        model, codec, abilities = self._current.model, self._current.codec, self._current.abilities
        if not abilities.rows and any(request.temperature for request in requests):
            raise UserError(
                "no samples from a model of this kind (it has layers without keys and values, or settings of its own "
                "for greedy answers): leave samples at 1"
            )
        with self._memory():
            if not abilities.rows:
                return generate_plainly(model, codec, requests, self._limits.rows, watch, abilities.padding)
            drafts = self._drafts and abilities.drafts
            return GreedyDecoder(model, codec, self._limits, drafts).generate(requests, watch)

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        model, codec, padding = self._current.model, self._current.codec, self._current.abilities.padding
        with self._memory():
            return loglikelihoods(model, codec, requests, self._limits, padding)

    def loglikelihood_rolling(self, texts: Sequence[str]) -> list[float]:
        model, codec, padding = self._current.model, self._current.codec, self._current.abilities.padding
        with self._memory():
            return rolling_loglikelihoods(model, codec, texts, self._limits, padding)

    def learn(
        self, recipe: Recipe, targets: Sequence[Target], settings: LearnSettings, threads: int | None = None
    ) -> Learned:
        assert self._merger is not None, "learning needs a merger"
        self.restore()
        model, codec, padding = self._base.model, self._base.codec, self._base.abilities.padding
        with self._memory("learning weights"), threads_of_torch(threads):
            layers = WeightedLayers(self._live, self._merger.core_space(recipe), recipe)
            tokens = tokenize(model, codec, targets)
            gpu = model.device.type != "cpu"  # it holds little beside the model, and has time to compute twice
            loss = AnswerLoss(model, layers, padding, tokens=_GPU_TOKENS if gpu else AnswerLoss.tokens)
            with differentiable(model, checkpoints=gpu):
                return learn(loss, layers.shape, tokens, settings)

    @property
    def _limits(self) -> Limits:
        token_bytes = self._current.abilities.token_bytes
        return Limits(rows=self._batch_size, cache_tokens=CACHE_BYTES // max(1, token_bytes))

    @contextmanager
    def _memory(self, what: object = None) -> Iterator[None]:
        """Turn an out-of-memory error into one line about ``what``, by default the answers."""
        try:
            yield
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            if not any(phrase in reason for phrase in _OUT_OF_MEMORY):
                raise
            cure = (
                f"set backend.batch_size lower, it is {self._batch_size}"
                if what is None
                else "it takes a device with more of it, a smaller model or, from float32, backend.dtype=bfloat16"
            )
            raise UserError(f"no memory on {self._device} for {what or 'the answers'} ({reason}): {cure}") from None

    @property
    def _current(self) -> _Ready:
        return self._loaded or self._base


@dataclass(frozen=True)
class _Ready:
    """A model ready to answer."""

    model: PreTrainedModel
    codec: TextCodec
    abilities: Abilities


def _ready(model: PreTrainedModel, codec: TextCodec) -> _Ready:
    abilities = prepare(model)
    head = model.get_output_embeddings()
    if abilities.rows and head is not None:
        head.register_forward_pre_hook(_contiguous)
    return _Ready(model, codec, abilities)


def _contiguous(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Copy the last positions together: they are strided after a prefill, and torch would multiply row by row (100
    ms)."""
    return (inputs[0].contiguous(), *inputs[1:])
