"""Define what a task is, its items per split and the scoring of answers; ask a backend for answers."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from evomerge.inference.backend import Backend, GenerationRequest
from evomerge.inference.deadline import Ended, Watch
from evomerge.types import ItemScore, KnownAnswer, KnownAnswers

#: Renders messages to a prompt; called with ``add_generation_prompt``.
Template = Callable[..., str]
#: Texts of an item's samples; or (log-likelihood, is greedy) of its continuations; or the log-likelihoods of texts.
Answer = Sequence[str] | Sequence[tuple[float, bool]] | Sequence[float]


@dataclass(frozen=True)
class Item:
    """One item of a task, ready for a backend: a generation, or log-likelihoods.

    Attributes:
        prompt: what is generated from, or what the first continuation follows.
        pairs: (context, continuation) of a log-likelihood item, for example one per choice.
        text: of a rolling log-likelihood item.
        samples: answers wanted of a generation.
    """

    task: str
    id: str
    prompt: str
    until: tuple[str, ...] = ()
    max_new_tokens: int = 0
    document: dict[str, Any] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    text: str | None = None
    samples: int = 1
    temperature: float = 0.0

    @property
    def generates(self) -> bool:
        """Whether the answer is text."""
        return not self.pairs and self.text is None

    def generations(self, known: tuple[KnownAnswer, ...] = ()) -> list[GenerationRequest]:
        """Requests for the item's samples. Seeds depend on item and sample alone, so all candidates use the same.

        Args:
            known: answers of earlier models; samples have no use for them.
        """
        if self.samples == 1:
            return [GenerationRequest(self.prompt, self.until, self.max_new_tokens, known=known)]
        seeds = [zlib.crc32(f"{self.task}\0{self.id}\0{n}".encode()) for n in range(self.samples)]
        return [
            GenerationRequest(self.prompt, self.until, self.max_new_tokens, temperature=self.temperature, seed=seed)
            for seed in seeds
        ]


class EvalTask(Protocol):
    """A task. Made by :func:`evomerge.evaluation.tasks.load_tasks`.

    Attributes:
        judged: whether the judge's sandbox runs the answers.
    """

    @property
    def judged(self) -> bool: ...

    @property
    def metric(self) -> str:
        """Name of the metric that is the task's score."""
        ...

    def items(self, split: str) -> tuple[Item, ...]:
        """Items of ``search``, ``selection`` or ``test``: disjoint, always the same, in the data's order.

        Raises:
            UserError: the task has no such items.
        """
        ...

    def score(self, items: Sequence[Item], answers: Sequence[Answer | str]) -> list[ItemScore]:
        """Outcomes of answers, in order; a text is a single sample."""
        ...

    def begin(self, item: Item, answer: str) -> None:
        """Begin to judge a generated answer that ``score`` will be given later."""
        ...

    def gold(self, item: Item) -> tuple[str, str] | None:
        """The item's reference answer, and what it follows; None if the task knows none."""
        ...


def ask(
    backend: Backend,
    items: Sequence[Item],
    ended: Callable[[int, Ended], None],
    allowances: Mapping[str, int] | None = None,
    deadline: float | None = None,
    known: KnownAnswers | None = None,
) -> list[Answer]:
    """Answers to items of any tasks: all generations in one call, all log-likelihoods in another.

    Args:
        ended: told the number of an item and an answer to it as soon as that is generated.
        allowances: task -> tokens that all its answers may take together.
        deadline: value of ``time.monotonic()`` when the generation must be over.
        known: answers of earlier models.

    Raises:
        OutOfTime: it was not.
    """
    owners = [n for n, item in enumerate(items) if item.generates for _ in range(item.samples)]
    known = known or {}
    requests = [
        request
        for item in items
        if item.generates
        for request in item.generations(known.get(item.task, {}).get(item.id, ()))
    ]
    watch = Watch(
        lambda answer: ended(owners[answer.index], answer), [items[n].task for n in owners], allowances, deadline
    )
    texts = iter(backend.generate(requests, watch) if requests else [])
    pairs = [pair for item in items for pair in item.pairs]
    scored = iter(backend.loglikelihood(pairs) if pairs else [])
    rolled = [item.text for item in items if item.text is not None]
    rolling = iter(backend.loglikelihood_rolling(rolled) if rolled else [])
    answers: list[Answer] = []
    for item in items:
        if item.pairs:
            answers.append([next(scored) for _ in item.pairs])
        elif item.text is not None:
            answers.append([next(rolling)])
        else:
            answers.append([next(texts) for _ in range(item.samples)])
    return answers
