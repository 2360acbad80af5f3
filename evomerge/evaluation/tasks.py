"""Tasks: lm-eval's Task objects, built once, with per-item outcomes.

Prompts, stops, filters and metrics are lm-eval's own, so that a score equals what its ``simple_evaluate`` gives.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from evomerge.errors import UserError, nearest
from evomerge.evaluation import judge as judging
from evomerge.evaluation.data import SPLITS
from evomerge.evaluation.judge import Judge
from evomerge.types import ItemScore
from evomerge.weights.package_data import data_dir

USER_ANSWER = 256  # tokens; how long the answers to a user's items are, nobody has measured


@dataclass(frozen=True)
class TaskSpec:
    """A task as asked for.

    Attributes:
        name: what its scores are called.
        task: name of an lm-eval task under tasks/.
        data: the user's data file, or None for the task's own items.
        limit: at most so many items per split, spread evenly over them; None takes all.
        max_new_tokens: longest answer; None: the task's own number for its own items, 256 for the user's.
    """

    name: str
    task: str
    data: str | None = None
    limit: int | None = None
    max_new_tokens: int | None = None

    def __post_init__(self) -> None:
        for key in ("limit", "max_new_tokens"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"tasks.{self.name}.{key} must be at least 1, got {value}")


@dataclass(frozen=True)
class Item:
    """One item of a task, ready for a backend."""

    task: str
    id: str
    prompt: str
    until: tuple[str, ...]
    max_new_tokens: int
    document: dict[str, Any]


class EvalTask:
    """One task: its items per split and the scoring of answers. Made by :func:`load_tasks`."""

    def __init__(self, spec: TaskSpec, task: ConfigurableTask, judge: Judge) -> None:
        self.spec = spec
        self._task = task
        self._judge = judge
        self._kind: str = task.config.metadata["judge"]
        self._metric: str = next(iter(task.aggregation()))
        documents = [
            dict(row) for table in ("validation", "test") if table in task.dataset for row in task.dataset[table]
        ]
        self._items = {
            split: tuple(
                self._item(document) for document in _spread([d for d in documents if d["split"] == split], spec.limit)
            )
            for split in SPLITS
        }

    @property
    def metric(self) -> str:
        """Name of the metric that is the task's score."""
        return self._metric

    def items(self, split: str) -> tuple[Item, ...]:
        """Items of ``search``, ``selection`` or ``test``: disjoint, always the same, in the data's order.

        Raises:
            UserError: the task has no such items (HumanEval has test items only).
        """
        if not self._items[split]:
            raise UserError(
                f"task '{self.spec.name}' ({self.spec.task}) has no {split} items: report it beside the searched "
                f"tasks, or give it a data file that can be cut by tasks.{self.spec.name}.data=FILE"
            )
        return self._items[split]

    def score(self, items: Sequence[Item], answers: Sequence[str]) -> list[ItemScore]:
        """Outcomes of answers, in order. Judged together; lm-eval's ``process_results`` then finds the verdicts."""
        instances = [self._answered(item, answer) for item, answer in zip(items, answers, strict=True)]
        filtered = [instance.filtered_resps[self._task._filters[0].name] for instance in instances]
        self._judge.judge(
            self._kind, [(item.document["item"], text) for item, text in zip(items, filtered, strict=True)]
        )
        judging.use(self._judge)
        scores = []
        for item, answer, text in zip(items, answers, filtered, strict=True):
            metrics = self._task.process_results(item.document, [text])
            outcome = float(metrics[self._metric])
            scores.append(
                ItemScore(self.spec.name, item.id, outcome, answer, {k: float(v) for k, v in metrics.items()})
            )
        return scores

    def _item(self, document: dict[str, Any]) -> Item:
        prompt, arguments = self._instance(document).args
        return Item(
            self.spec.name, document["id"], prompt, tuple(arguments["until"]), int(arguments["max_gen_toks"]), document
        )

    def _instance(self, document: dict[str, Any]) -> Instance:
        context = self._task.fewshot_context(document, num_fewshot=0)
        instance = self._task.construct_requests(document, context, metadata=(self.spec.task, 0, 1))
        assert isinstance(instance, Instance)
        return instance

    def _answered(self, item: Item, answer: str) -> Instance:
        instance = self._instance(item.document)
        instance.resps = [answer]
        for ensemble in self._task._filters:
            ensemble.apply([instance])
        return instance


def load_tasks(specs: Sequence[TaskSpec], judge: Judge) -> dict[str, EvalTask]:
    """Build tasks once, by name.

    Args:
        judge: who judges the answers; the caller closes it.

    Raises:
        UserError: an unknown task, a name given twice, or a data file that is not as it should be.
    """
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two tasks are called '{name}': names of tasks must differ")
    tasks = {}
    for spec in specs:
        metadata: dict[str, Any] = {} if spec.data is None else {"data": spec.data}
        # Without lm-eval's own tasks: indexing their 14,000 names takes 7 s.
        manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=metadata)
        if spec.task not in manager.all_subtasks:
            raise UserError(f"unknown task '{spec.task}': {nearest(spec.task, manager.all_subtasks)}")
        with _quiet():
            task = manager.load(spec.task)["tasks"][spec.task]
        assert isinstance(task, ConfigurableTask)
        longest = spec.max_new_tokens or (None if spec.data is None else USER_ANSWER)
        if longest is not None:
            task.set_config("generation_kwargs", {"max_gen_toks": longest}, update=True)
        tasks[spec.name] = EvalTask(spec, task, judge)
    return tasks


def tasks_folder() -> Path:
    """Folder of the lm-eval tasks shipped with evomerge, for ``lm_eval --include_path``."""
    return data_dir("tasks")


def _spread(documents: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    """At most ``limit`` of the documents, evenly spread.

    >>> _spread([{"id": i} for i in range(5)], 2)
    [{'id': 0}, {'id': 2}]
    """
    if limit is None or limit >= len(documents):
        return documents
    return [documents[i * len(documents) // limit] for i in range(limit)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """lm-eval warns at every task with a data set function that metadata can be given."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
