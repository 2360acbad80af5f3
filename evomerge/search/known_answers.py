"""Index the answers that models gave to each item, for models that are scored after them."""

from __future__ import annotations

import heapq
from bisect import insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from evomerge.types import ItemScore, KnownAnswer, KnownAnswers

# Known answers of an item that a worker gets, and newest sources of each: their number bounds the size of a work.
_ANSWERS, _SOURCES = 12, 16
# Metrics that tell what an answer cost, not what it is worth.
_COSTS = ("tokens", "passes", "cut")


@dataclass
class _Entry:
    """One answer to one item."""

    first: ItemScore
    count: int = 0
    expert: bool = False
    sources: list[int] = field(default_factory=list)

    @property
    def rank(self) -> tuple[bool, int, int]:
        """The answers of the experts come first: every merge resembles them. Then the most frequent, and the newest."""
        return self.expert, self.count, self.sources[-1]


class AnswerIndex:
    """The distinct answers to each item, by task. What it holds depends on what was added, not on the order.

    Args:
        verdicts: whether the answers' verdicts hold for those who ask: same items, same judge.
    """

    def __init__(self, verdicts: bool = True) -> None:
        self._verdicts = verdicts
        self._entries: dict[str, dict[str, dict[str, _Entry]]] = {}
        self._best: dict[tuple[str, str], tuple[KnownAnswer, ...]] = {}

    def add(self, source: int, items: Iterable[ItemScore], expert: bool = False) -> None:
        """Add a model's answers. Answers that were cut off, or that were not generated, are left out.

        Args:
            source: number of the model.
            expert: whether the model is an expert alone.
        """
        for item in items:
            if "tokens" not in item.metrics or item.metrics.get("cut"):
                continue
            entries = self._entries.setdefault(item.task, {}).setdefault(item.item, {})
            entry = entries.setdefault(item.answer, _Entry(item))
            entry.count += 1
            entry.expert |= expert
            insort(entry.sources, source)
            del entry.sources[:-_SOURCES]
            self._best.pop((item.task, item.item), None)

    def known(self, tasks: Sequence[str], items: Mapping[str, Sequence[str]] | None = None) -> KnownAnswers:
        """The best known answers to the items of ``tasks``.

        Args:
            items: those that are wanted of a task; of other tasks all are.
        """
        wanted = items or {}
        return {
            task: {item: self._answers(task, item) for item in wanted.get(task, self._entries.get(task, {}))}
            for task in tasks
        }

    def _answers(self, task: str, item: str) -> tuple[KnownAnswer, ...]:
        if (task, item) not in self._best:
            entries = self._entries.get(task, {}).get(item, {})
            best = heapq.nlargest(_ANSWERS, entries.items(), key=lambda entry: entry[1].rank)
            self._best[task, item] = tuple(self._answer(text, entry) for text, entry in best)
        return self._best[task, item]

    def _answer(self, text: str, entry: _Entry) -> KnownAnswer:
        tokens, sources = int(entry.first.metrics["tokens"]), tuple(entry.sources)
        if not self._verdicts:
            return KnownAnswer(text, tokens, sources)
        metrics = {name: value for name, value in entry.first.metrics.items() if name not in _COSTS}
        return KnownAnswer(text, tokens, sources, entry.first.outcome, metrics)
