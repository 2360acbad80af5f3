"""Score code answers: programs that are judged by running tests on them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from evomerge.errors import UserError
from evomerge.evaluation.documents import Document, Row
from evomerge.evaluation.judging.children import Metrics, Verdict
from evomerge.evaluation.scorers.base import TRUSTED, Item, Scorer, Workbench, scorer
from evomerge.evaluation.scorers.code import data
from evomerge.evaluation.scorers.code.processes import judge_code


class TestedCode(Scorer):
    """What scorers of code share: everything but the form of their rows."""

    @dataclass(frozen=True)
    class Options:
        """How code is asked for.

        Attributes:
            style: ``completion`` (the answer goes on where the prompt ends) or ``chat`` (it is a message with a
                program in a fence).
            samples: answers drawn per item, for pass@k; 1 is the greedy answer.
            k: the k of pass@k that are reported; the first is the score.
            temperature: of samples.
        """

        style: Literal["completion", "chat"] = "completion"
        samples: int = 1
        k: tuple[int, ...] = (1,)
        temperature: float = 0.8

        def __post_init__(self) -> None:
            if self.samples < 1:
                raise UserError(f"samples must be at least 1, got {self.samples}")
            if not self.k or min(self.k) < 1 or max(self.k) > self.samples:
                raise UserError(
                    f"k must be between 1 and samples={self.samples}, got {list(self.k)}: set "
                    f"samples={max(self.k, default=1)} or more"
                )
            if self.samples > 1 and self.temperature <= 0:
                raise UserError(f"temperature must be above 0 for samples, got {self.temperature}")

    def judge_many(self, bench: Workbench, items: Sequence[tuple[Item, str]]) -> list[Verdict]:
        return judge_code(bench.zygote, bench.walls, items)

    def is_message(self, options: Options, chat: bool) -> bool:
        return options.style == "chat"  # a completion goes on in the message that the prompt begins

    def sampling(self, options: Options) -> tuple[int, float]:
        return options.samples, options.temperature if options.samples > 1 else 0.0

    def greedy(self, options: Options) -> Options:
        return dataclasses.replace(options, samples=1, k=(1,))

    def metric_names(self, options: Options) -> tuple[str, ...]:
        return tuple(f"pass@{k}" for k in options.k)

    def combine(self, verdicts: Sequence[Metrics], options: Options) -> Metrics:
        right = int(sum(verdict["pass@1"] for verdict in verdicts))
        known = [k for k in options.k if k <= len(verdicts)] or [1]
        marks = {TRUSTED: 1.0} if TRUSTED in verdicts[0] else {}
        return {f"pass@{k}": pass_at_k(len(verdicts), right, k) for k in known} | marks


@scorer(metrics=("pass@1",))
class Code(TestedCode):
    """HumanEval's form: the answer goes on where the prompt ends, or is a message with a program in a fence."""

    example: ClassVar[Mapping[str, Any]] = {
        "task_id": "double",
        "prompt": "def double(x):",
        "canonical_solution": "    return 2 * x",
        "test": "def check(candidate):\n    assert candidate(3) == 6",
        "entry_point": "double",
    }
    endless = "\n    while True: pass"

    def read(self, row: Row, options: TestedCode.Options) -> Document:
        return data.read_code(row, options.style)


@scorer(metrics=("pass@1",))
class Program(TestedCode):
    """MBPP's form: a sentence and asserts; the answer is the whole program."""

    example: ClassVar[Mapping[str, Any]] = {
        "text": "Write a function that doubles a number.",
        "code": "def double(x):\n    return 2 * x",
        "test_list": ["assert double(3) == 6"],
    }
    endless = "\ndef double(x):\n    while True: pass\n"

    def read(self, row: Row, options: TestedCode.Options) -> Document:
        return data.read_program(row, options.style)


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Unbiased estimate of the chance that at least one of ``k`` samples is right (arXiv:2107.03374, eq. 1).

    Args:
        samples: number of samples drawn, at least ``k``.
        right: how many of them are right.

    >>> pass_at_k(4, 1, 1), pass_at_k(4, 1, 2), pass_at_k(4, 3, 2)
    (0.25, 0.5, 1.0)
    """
    assert 0 <= right <= samples and 1 <= k <= samples
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)
