"""Define what a scorer is. A scorer is one file or folder beside this one, and nothing else has to know of it.

A class decorated by :func:`scorer` reads rows of a data file (:meth:`Scorer.read`) and judges answers
(:meth:`Scorer.judge`). A task's YAML file names it by ``metadata.scorer``: the class's name in lower case. What else
:class:`Scorer` has is for scorers that need more; the defaults fit the others.

``read`` runs in the worker. ``prepare`` and ``judge`` run in the judge's process, where the file system holds Python's
library alone: import at the module's top what they need, and nothing heavy (torch, transformers, lm-eval), for the
judge imports every scorer when it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from evomerge.evaluation.documents import Document, Row
from evomerge.evaluation.judging.children import Job, Metrics, Verdict, run_in_children
from evomerge.evaluation.judging.sandbox.assembly import Walls
from evomerge.evaluation.judging.zygote import Zygote
from evomerge.registry import Registry

SCORERS: Registry[Scorer] = Registry("scorer", "evomerge.evaluation.scorers")
"""Scorers by name."""

#: Key of a verdict whose tests shared a process with the answer. Not a metric: the answer's own code could forge it.
TRUSTED = "trusted"

Item = Mapping[str, Any]
"""What judging needs of an item, as plain JSON."""


class BadItem(Exception):
    """The item itself is at fault, so no answer to it can be judged; the message says why."""


@dataclass(frozen=True)
class Prepared:
    """An item ready to judge answers.

    Attributes:
        item: what :meth:`Scorer.judge` gets.
        cpu_seconds: that judging one answer may take; what takes longer is ended, and the answer is wrong.
        memory: bytes beyond ``sandbox.memory``, for what the judge's process holds already.
    """

    item: Any
    cpu_seconds: float = 2.0
    memory: int = 0


@dataclass(frozen=True)
class Workbench:
    """What the judge's process offers one scorer.

    Attributes:
        walls: the sandbox, and in ``walls.settings`` its limits.
        zygote: starts processes for answers that need one of their own.
        files: contents of the files that items name, by stamp (:meth:`Scorer.files`).
        kept: the scorer's own memory from one batch to the next; empty at first.
    """

    walls: Walls
    zygote: Zygote
    files: Mapping[str, bytes]
    kept: dict[str, Any] = field(default_factory=dict)


class Scorer:
    """The parts of a scorer.

    Attributes:
        name: what YAML files, messages and the judge call it.
        metrics: names of the metrics that ``judge`` gives; the first is the score, in [0, 1].
        example: a row of a data file, with its gold answer; the conformance tests judge it.
        endless: an answer to it that never ends, where answers are run; else empty.
        other_folders: for error texts: what ``layout`` finds, for example "Spider's dev.json".
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    example: ClassVar[Mapping[str, Any]]
    endless: ClassVar[str] = ""
    other_folders: ClassVar[str] = ""

    @dataclass(frozen=True)
    class Options:
        """Settings ``tasks.NAME.*`` that only this scorer's tasks have, each with a default.

        Types are ``bool``, ``int``, ``float``, ``str``, ``Literal`` or ``tuple[int, ...]``. A check in
        ``__post_init__`` raises ``UserError("KEY must be ...")``.
        """

    def read(self, row: Row, options: Any) -> Document:
        """The document of one row of a data file.

        Raises:
            UserError: by ``row.fail``, which names file and line: the row is not as it should be.
        """
        raise NotImplementedError

    def judge(self, item: Any, answer: str) -> Metrics:
        """Metrics of one answer: a pure function, run in the sandbox.

        Args:
            item: ``Document.item``, or what ``prepare`` made of it.
        """
        raise NotImplementedError

    # Reading: more than rows of JSON.

    def layout(self, folder: Path) -> tuple[Path, Path | None] | None:
        """Data files of a folder that has no ``test.jsonl``: the file of test items, and the one of others, if any."""
        return None

    def files(self, item: Item) -> Mapping[str, Path]:
        """Files that judging needs, by a stamp that changes when the file does. The sandbox sees no file of ours, so
        their bytes are sent to it, once."""
        return {}

    def read_file(self, path: Path) -> bytes:
        """The bytes to send of a file that ``files`` names."""
        return path.read_bytes()

    # Judging: more than a function of item and answer.

    def load(self) -> None:
        """Import what ``judge`` imports late: called in the judge's process before its files are out of reach."""

    def prepare(self, item: Item, bench: Workbench) -> Prepared:
        """The item ready to judge answers. Runs trusted code alone, in the process that all answers are forked from.

        Raises:
            BadItem: no answer to the item can be judged.
        """
        return Prepared(item)

    def wrong(self, item: Item) -> Metrics:
        """Metrics of an answer that says nothing, or whose judging had to be ended."""
        return dict.fromkeys(self.metrics, 0.0)

    def judge_many(self, bench: Workbench, items: Sequence[tuple[Item, str]]) -> list[Verdict]:
        """Verdicts on pairs of item and answer: many in one sandboxed child, which a new one follows when an answer
        kills it. A scorer that runs answers as programs brings processes of its own."""
        return run_in_children([self._job(bench, item, answer) for item, answer in items], bench.walls)

    def _job(self, bench: Workbench, item: Item, answer: str) -> Job:
        try:
            prepared = self.prepare(item, bench)
        except BadItem as error:
            return Job(error=str(error))
        ready = prepared.item
        return Job(lambda: self.judge(ready, answer), self.wrong(item), prepared.cpu_seconds, prepared.memory)

    # Asking the model: more than one greedy answer.

    def is_message(self, options: Any, chat: bool) -> bool:
        """Whether an answer is a message of a chat, which ends by itself: the task's stop strings do not cut it.

        Args:
            chat: prompts are put into the model's chat format. If not, True asks for that.
        """
        return chat

    def sampling(self, options: Any) -> tuple[int, float]:
        """Answers drawn per item, and their temperature; one is the greedy answer."""
        return 1, 0.0

    def greedy(self, options: Any) -> Any:
        """The options for a backend that draws no samples."""
        return options

    def metric_names(self, options: Any) -> tuple[str, ...]:
        """Metrics of an item under these options; the first is the score."""
        return self.metrics

    def combine(self, verdicts: Sequence[Metrics], options: Any) -> Metrics:
        """Metrics of an item, from those of its samples."""
        return dict(verdicts[0])


S = TypeVar("S", bound=Scorer)


def scorer(metrics: tuple[str, ...]) -> Callable[[type[S]], type[S]]:
    """Decorator that enters a class in :data:`SCORERS`, under its name in lower case.

    Args:
        metrics: see :class:`Scorer`; the task's YAML file lists the same for lm-eval.
    """

    def enter(kind: type[S]) -> type[S]:
        kind.name = kind.__name__.lower()
        kind.metrics = metrics
        SCORERS.register(kind.name)(kind())
        return kind

    return enter
