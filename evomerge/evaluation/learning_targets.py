"""Find answers that a merge can learn from: experts' own right answers, or the tasks' reference answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evomerge.evaluation.task_base import EvalTask, Item
from evomerge.inference.learning.targets import Target
from evomerge.types import ItemScore

# Items of other splits are never learned from.
_SPLIT = "search"


def given_answers(tasks: Mapping[str, EvalTask], answers: Sequence[ItemScore]) -> list[Target]:
    """Targets of answers that a model gave to search items."""
    items = {(name, item.id): item for name in {score.task for score in answers} for item in tasks[name].items(_SPLIT)}
    found = (_given(items[score.task, score.item], score) for score in answers)
    return [target for target in found if target is not None]


def gold_answers(tasks: Mapping[str, EvalTask], names: Sequence[str]) -> list[Target]:
    """Targets of the reference answers to the search items of these tasks, where there are some."""
    found = []
    for name in names:
        for item in tasks[name].items(_SPLIT):
            gold = tasks[name].gold(item)
            if gold is not None:
                found.append(_target(item, *gold, ends=True))
    return found


def _given(item: Item, score: ItemScore) -> Target | None:
    if item.generates:
        # An answer that took all its tokens may have gone on.
        ends = score.metrics.get("tokens", 0.0) < item.max_new_tokens * item.samples
        return _target(item, item.prompt, score.answer, ends)
    chosen = next((pair for pair in item.pairs if pair[1] == score.answer), None)
    return None if chosen is None else _target(item, *chosen, ends=False)


def _target(item: Item, prompt: str, answer: str, ends: bool) -> Target:
    ends = ends and item.generates
    return Target(item.task, prompt, answer, item.until, item.max_new_tokens, ends)
