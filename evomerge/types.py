"""Values that the package's layers exchange; all are frozen, and none needs torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

#: Dtypes of a merged model's parameters.
DTYPES = ("bfloat16", "float16", "float32")
#: Parts of a task's items: for the search, for choosing the winner, and for the final table.
SPLITS = ("search", "selection", "test")


@dataclass(frozen=True)
class Expert:
    """A LoRA adapter or a full checkpoint fine-tuned from the recipe's base.

    ``source`` is a model name that :mod:`evomerge.weights.sources` can resolve.
    """

    name: str
    source: str


@dataclass(frozen=True)
class Recipe:
    """Everything that determines a merged model.

    Attributes:
        base: model name of the base.
        experts: experts (T,).
        method: name of a registered merge method.
        weights: weights of expert t in layer group g, shape (G, T); the G groups cut the layers into equal runs.
        expert_parameters: per-expert parameters of the method, each of length T: ``{"density": (0.5, 1.0)}``.
        parameters: the method's shared parameters and options, for example ``{"scale": 1.0, "rescale": "l1"}``.
        modifiers: changes to the method's result, for example ``{"lines": {"alpha": 0.7, "beta": 0.3}}``; ``svc`` is
            applied before ``lines``.
        seed: seed of random masks.
        dtype: dtype of the merged model, a torch dtype name.
    """

    base: str
    experts: tuple[Expert, ...]
    method: str
    weights: tuple[tuple[float, ...], ...]
    expert_parameters: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    parameters: Mapping[str, float | str | bool] = field(default_factory=dict)
    modifiers: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seed: int = 0
    dtype: str = "bfloat16"

    @property
    def fingerprint(self) -> str:
        """sha256 over the canonical form; the order of keys does not change it."""
        return hashlib.sha256(json.dumps(self.canonical(), sort_keys=True).encode()).hexdigest()

    def canonical(self) -> dict[str, Any]:
        """Plain JSON values, with numbers rounded to 1e-6, so that a YAML round trip keeps the fingerprint."""
        modifiers = {n: {k: round(float(x), 6) for k, x in v.items()} for n, v in self.modifiers.items()}
        return {
            "base": self.base,
            "experts": [[expert.name, expert.source] for expert in self.experts],
            "method": self.method,
            "weights": [[round(float(w), 6) for w in row] for row in self.weights],
            "expert_parameters": {k: [round(float(x), 6) for x in v] for k, v in self.expert_parameters.items()},
            "parameters": {k: _rounded(v) for k, v in self.parameters.items()},
            "seed": self.seed,
            "dtype": self.dtype,
        } | ({"modifiers": modifiers} if modifiers else {})


def _rounded(value: float | str | bool) -> float | str | bool:
    return value if isinstance(value, (str, bool)) else round(float(value), 6)


@dataclass(frozen=True)
class Artifact:
    """A model as a folder on disk: a full model, or a base with a PEFT adapter on top."""

    model: str
    adapter: str | None = None

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.model}\0{self.adapter or ''}".encode()).hexdigest()


@dataclass(frozen=True)
class ItemScore:
    """The score of one answer: ``outcome`` in [0, 1], and ``metrics`` with further values (``sql_valid``)."""

    task: str
    item: str
    outcome: float
    answer: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Score:
    """Mean outcome with a 95 % Wilson score interval."""

    mean: float
    low: float
    high: float
    items: int


def wilson(outcomes: Sequence[float], z: float = 1.959964) -> Score:
    """Mean of outcomes in [0, 1] and its Wilson score interval (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    >>> score = wilson([1, 1, 0, 1])
    >>> round(score.mean, 2), round(score.low, 2), round(score.high, 2), score.items
    (0.75, 0.3, 0.95, 4)
    """
    n = len(outcomes)
    if n == 0:
        return Score(math.nan, 0.0, 1.0, 0)
    p = sum(outcomes) / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return Score(p, max(0.0, min(p, centre - half)), min(1.0, max(p, centre + half)), n)


def scores_by_task(items: Sequence[ItemScore]) -> dict[str, Score]:
    """Score of each task, in order of first appearance."""
    outcomes: dict[str, list[float]] = {}
    for item in items:
        outcomes.setdefault(item.task, []).append(item.outcome)
    return {task: wilson(values) for task, values in outcomes.items()}


@dataclass(frozen=True)
class Objective:
    """A task's score as an objective. ``reference`` is its expert's score: retention = score / reference."""

    task: str
    expert: str | None = None
    reference: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A proposed recipe without scores. ``label`` names anchors (``"uniform"``); other candidates have none."""

    number: int
    recipe: Recipe
    params: Mapping[str, Any]
    label: str | None = None


@dataclass(frozen=True)
class KnownAnswer:
    """An answer that earlier models gave to an item, with its verdict if that holds for the work it is part of.

    ``tokens`` were generated for it, with those that ended it. ``sources`` number the models that gave it, the newest
    last. ``outcome`` and ``metrics`` are those of :class:`ItemScore`, without what the answer cost; no outcome: the
    answer has to be judged.
    """

    text: str
    tokens: int
    sources: tuple[int, ...] = ()
    outcome: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


#: Task -> item -> its known answers, best first.
KnownAnswers = Mapping[str, Mapping[str, tuple[KnownAnswer, ...]]]


@dataclass(frozen=True)
class Work:
    """One evaluation for a worker: the subject to load, and the split and tasks to score.

    ``split`` is ``search``, ``selection`` or ``test``. ``tasks`` are names of the worker's tasks. ``allowance`` bounds
    the mean number of tokens of a task's answers; the worker cuts off answers beyond it. ``items`` names the items of
    a task that are wanted; those of other tasks are wanted all. ``known`` are answers of earlier models: they make the
    evaluation faster and change no answer.
    """

    key: str
    subject: Recipe | Artifact
    split: str
    tasks: tuple[str, ...]
    allowance: Mapping[str, float] = field(default_factory=dict)
    items: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    known: KnownAnswers = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Lesson:
    """Another work for a worker: learn the weights of a recipe's experts, one for each layer and expert.

    Attributes:
        recipe: its experts, and its method, whose parts are weighted; its weights do not count.
        answers: right answers to search items, which the merge has to give.
        gold: tasks whose reference answers it has to give.
        low, high: smallest and largest weight.
        seed: of the order in which answers are learned.
        threads: of the worker while it learns; None: as many as it has.
    """

    key: str
    recipe: Recipe
    answers: tuple[ItemScore, ...] = ()
    gold: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    seed: int = 0
    threads: int | None = None


@dataclass(frozen=True)
class Learned:
    """Weights that a worker learned.

    Attributes:
        weights: of layer l and expert t, shape (L, T).
        start: the one weight of all layers and experts that they began with.
        steps: of the learning.
        loss_before, loss_after: nats that an answer needs, mean over the answers held back, at ``start`` and at
            ``weights``.
        answers: task -> answers that it learned from, those held back included.
    """

    weights: tuple[tuple[float, ...], ...]
    start: float
    steps: int
    loss_before: float
    loss_after: float
    answers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """A worker's answer. If the work failed, ``error`` is one line and ``items`` is empty; ``learned`` answers a
    lesson."""

    key: str
    items: tuple[ItemScore, ...]
    seconds: float
    isolation: str = ""
    error: str | None = None
    learned: Learned | None = None


@dataclass(frozen=True)
class Trial:
    """A candidate with its scores on the search split, as stored on disk.

    ``stopped``: racing stopped it (:mod:`evomerge.search.racing`), so that its scores are of part of the items and not
    to be compared with others.
    """

    number: int
    recipe: Recipe
    params: Mapping[str, Any]
    label: str | None
    items: tuple[ItemScore, ...] = field(repr=False)
    seconds: float
    isolation: str
    error: str | None = None
    stopped: bool = False

    @property
    def scores(self) -> dict[str, Score]:
        return scores_by_task(self.items)


class Worker(Protocol):
    """A worker holds a model and tasks, and scores one subject after another.

    It may raise: the pool turns an exception into a ``Done`` with an error.
    """

    def evaluate(self, work: Work) -> Done:
        """Score ``work``."""
        ...

    def learn(self, lesson: Lesson) -> Done:
        """Learn what ``lesson`` asks for."""
        ...


class Pool(Protocol):
    """A queue of work for workers in this process or on Ray actors; results come in any order."""

    @property
    def size(self) -> int:
        """Number of workers."""
        ...

    def submit(self, work: Work | Lesson) -> None: ...

    def wait(self, timeout: float | None = None) -> list[Done]:
        """Return finished work. Blocks until there is some, or returns [] after ``timeout`` seconds."""
        ...

    def close(self) -> None: ...
