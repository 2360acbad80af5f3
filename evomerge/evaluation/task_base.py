"""What a task is: a specification, its items per split, and the scoring of answers."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from evomerge.errors import UserError
from evomerge.evaluation.documents import ItemOptions
from evomerge.inference.backend import Backend, GenerationRequest
from evomerge.inference.deadline import Ended, Watch
from evomerge.types import ItemScore

#: Renders messages to a prompt; called with ``add_generation_prompt``.
Template = Callable[..., str]
#: Texts of an item's samples; or (log-likelihood, is greedy) of its continuations; or the log-likelihoods of texts.
Answer = Sequence[str] | Sequence[tuple[float, bool]] | Sequence[float]


@dataclass(frozen=True)
class TaskSpec:
    """A task as asked for.

    Attributes:
        name: what its scores are called.
        task: name of a task under tasks/, of one of lm-eval's own tasks or groups, or a YAML file of one.
        data: the user's data file or folder, or None for the task's own items.
        limit: at most so many items per split; None takes all. Of evomerge's tasks they are spread evenly over the
            items; of lm-eval's they are the first of each subtask, as ``lm_eval --limit`` takes them.
        max_new_tokens: longest answer; None: the task's own number for its own items, 256 for the user's.
        options: how the items of evomerge's tasks are asked and judged.
        samples: answers drawn per code item, for pass@k; 1 is the greedy answer.
        k: the k of pass@k that are reported; the first is the score.
        temperature: of samples.
        num_fewshot: worked examples in the prompt; None: the task's own number.
        chat_template: whether prompts are put into the model's chat format; style=chat implies it.
        system_instruction: text of the system message, or before the prompt.
        metric: name of the metric that is the score, ``acc_norm`` or ``exact_match,flexible-extract``; None: the
            task's first.
    """

    name: str
    task: str
    data: str | None = None
    limit: int | None = None
    max_new_tokens: int | None = None
    options: ItemOptions = field(default_factory=ItemOptions)
    samples: int = 1
    k: tuple[int, ...] = (1,)
    temperature: float = 0.8
    num_fewshot: int | None = None
    chat_template: bool = False
    system_instruction: str | None = None
    metric: str | None = None

    def __post_init__(self) -> None:
        for key, least in (("limit", 1), ("max_new_tokens", 1), ("samples", 1), ("num_fewshot", 0)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise UserError(f"tasks.{self.name}.{key} must be at least {least}, got {value}")
        if not self.k or min(self.k) < 1 or max(self.k) > self.samples:
            raise UserError(
                f"tasks.{self.name}.k must be between 1 and samples={self.samples}, got {list(self.k)}: "
                f"set tasks.{self.name}.samples={max(self.k, default=1)} or more"
            )
        if self.samples > 1 and self.temperature <= 0:
            raise UserError(f"tasks.{self.name}.temperature must be above 0 for samples, got {self.temperature}")

    @property
    def chat(self) -> bool:
        """Whether prompts are messages."""
        return self.chat_template or self.options.style == "chat"


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

    def generations(self) -> list[GenerationRequest]:
        """Requests for the item's samples. Seeds depend on item and sample alone, so all candidates use the same."""
        if self.samples == 1:
            return [GenerationRequest(self.prompt, self.until, self.max_new_tokens)]
        seeds = [zlib.crc32(f"{self.task}\0{self.id}\0{n}".encode()) for n in range(self.samples)]
        return [
            GenerationRequest(self.prompt, self.until, self.max_new_tokens, temperature=self.temperature, seed=seed)
            for seed in seeds
        ]


class EvalTask(Protocol):
    """A task. Made by :func:`evomerge.evaluation.tasks.load_tasks`."""

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
        """A generated answer that ``score`` will be given, as soon as it is there: what takes time may begin."""
        ...


def ask(
    backend: Backend,
    items: Sequence[Item],
    ended: Callable[[int, Ended], None],
    allowances: Mapping[str, int] | None = None,
    deadline: float | None = None,
) -> list[Answer]:
    """Answers to items of any tasks: all generations in one call, all log-likelihoods in another.

    Args:
        ended: told the number of an item and an answer to it as soon as that is generated.
        allowances: task -> tokens that all its answers may take together.
        deadline: value of ``time.monotonic()`` when the generation must be over.

    Raises:
        OutOfTime: it was not.
    """
    owners = [n for n, item in enumerate(items) if item.generates for _ in range(item.samples)]
    requests = [request for item in items if item.generates for request in item.generations()]
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
