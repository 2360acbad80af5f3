"""Backend protocol: a recipe or a model folder in, text or log-likelihoods out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from evomerge.inference.deadline import Watch
from evomerge.inference.learning.settings import LearnSettings
from evomerge.inference.learning.targets import Target
from evomerge.registry import Registry
from evomerge.types import Artifact, KnownAnswer, Learned, Recipe


@dataclass(frozen=True)
class GenerationRequest:
    """One answer to generate, greedy or sampled.

    Attributes:
        until: stop strings; the answer ends before the first of them.
        max_new_tokens: the longest answer, in tokens.
        temperature: of sampling from the whole distribution; 0 is greedy.
        seed: of sampling: the same prompt, weights and seed give the same sample, whatever else is in the batch.
        known: answers that earlier models gave to the prompt; a backend may verify them instead of generating token by
            token. The answer is the same without them.
    """

    prompt: str
    until: tuple[str, ...]
    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0
    known: tuple[KnownAnswer, ...] = ()


class Backend(Protocol):
    """Holds a base model, and answers with the weights that were applied or loaded last.

    Attributes:
        can_sample: whether requests may have a temperature.
    """

    can_sample: ClassVar[bool]

    def apply(self, recipe: Recipe) -> None:
        """Become the merged model of ``recipe``."""
        ...

    def load(self, artifact: Artifact) -> None:
        """Become the model of a folder, with its adapter if it has one."""
        ...

    def restore(self) -> None:
        """Become the base again."""
        ...

    def generate(self, requests: Sequence[GenerationRequest], watch: Watch | None = None) -> list[str]:
        """Answers in the order of the requests: text after the prompt, before the first stop string.

        Args:
            watch: the backend tells it of every token, and of every answer as soon as it ends; it stops answers that
                cost too much.

        Raises:
            OutOfTime: the watch's deadline passed before all answers had ended.
        """
        ...

    def loglikelihood(self, requests: Sequence[tuple[str, str]]) -> list[tuple[float, bool]]:
        """Log-probability of each continuation after its context, in nats, and whether it is the greedy answer."""
        ...

    def loglikelihood_rolling(self, texts: Sequence[str]) -> list[float]:
        """Log-probability in nats of whole texts, in windows of the model's context if they are longer."""
        ...

    def learn(
        self, recipe: Recipe, targets: Sequence[Target], settings: LearnSettings, threads: int | None = None
    ) -> Learned:
        """Learn the weights of the recipe's experts, one for each layer and expert. It leaves the base.

        Args:
            threads: of torch meanwhile; None: as many as there are.

        Raises:
            UserError: too few targets, or the model or the recipe's method have no weights that could be learned.
        """
        ...


#: Backend name -> class, called as HFBackend is. Any: a Protocol cannot describe a constructor.
BACKENDS: Registry[Any] = Registry("backend", "evomerge.inference.backends")
