"""Score any recipe in this process, each once, as a notebook asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType

from evomerge.errors import UserError, nearest
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.task_base import EvalTask
from evomerge.evaluation.worker import EvaluationWorker, WorkerSpec, open_backend, open_tasks
from evomerge.search.evaluations import Evaluations
from evomerge.types import Expert, ItemScore, Recipe, Score, Work, scores_by_task

#: Function of fingerprint, split and task that gives items scored before.
Known = Callable[[str, str, str], tuple[ItemScore, ...] | None]


@dataclass(frozen=True)
class Scored:
    """A recipe's answers to the items of one split, with their outcomes."""

    recipe: Recipe
    split: str
    items: tuple[ItemScore, ...] = field(repr=False)

    @property
    def scores(self) -> dict[str, Score]:
        """Score with 95 % interval by task."""
        return scores_by_task(self.items)


class Scorer:
    """Scores one recipe after another on the same items. A context manager; ``close`` ends the sandbox's process.

    The first unknown recipe loads the model. A recipe is merged with its own experts alone, as ``job=merge`` does: in
    core space every loaded expert would take part in the basis.

    Args:
        spec: tasks and backend; base and experts are those of each recipe.
        cache: a folder that keeps scores; None: this object's memory alone.
        known: function that is asked first, for example for a run's recorded scores.
    """

    def __init__(self, spec: WorkerSpec, cache: Path | str | None = None, known: Known | None = None) -> None:
        self.spec = spec
        self._known = known
        self._memory: dict[tuple[str, str, str], tuple[ItemScore, ...]] = {}
        self._kept: Evaluations | None = None
        if cache is not None:
            identity = repr((spec.tasks, spec.backend.kind, spec.dtype)).encode()
            Path(cache).mkdir(parents=True, exist_ok=True)
            self._kept = Evaluations(Path(cache) / f"scores-{hashlib.sha256(identity).hexdigest()[:16]}.jsonl")
        self._held: tuple[tuple[str, tuple[Expert, ...]], EvaluationWorker] | None = None  # base and experts in memory

    def score(self, recipe: Recipe, split: str = "search", tasks: Sequence[str] | None = None) -> Scored:
        """Score ``recipe`` on a split's items of ``tasks``; None: all of them.

        Raises:
            UserError: an unknown task, a task without such items, or models that cannot be merged or loaded.
        """
        wanted = self._named(tasks)
        missing = tuple(task for task in wanted if self._find(recipe, split, task) is None)
        # batches as in the search, so that answers are the same: search items all together, other items task by task
        for part in [missing] if split == "search" and missing else [(task,) for task in missing]:
            done = self._worker_for(recipe).evaluate(Work(recipe.fingerprint, recipe, split, part))
            for task in part:
                self._memory[recipe.fingerprint, split, task] = tuple(i for i in done.items if i.task == task)
            if self._kept is not None:
                self._kept.record(recipe.fingerprint, split, done)
        found = [self._find(recipe, split, task) for task in wanted]
        return Scored(recipe, split, tuple(item for items in found for item in items or ()))

    def prompts(self, split: str = "search") -> dict[str, dict[str, str]]:
        """Prompts by task and item."""
        return {name: {item.id: item.prompt for item in task.items(split)} for name, task in self._tasks.items()}

    def close(self) -> None:
        """End the judge. Recorded scores are still found; new recipes cannot be scored."""
        self._held = None
        if "_judge" in vars(self):
            self._judge.close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _named(self, tasks: Sequence[str] | None) -> tuple[str, ...]:
        known = [spec.name for spec in self.spec.tasks]
        for task in tasks or ():
            if task not in known:
                raise UserError(f"no task is called '{task}' here: {nearest(task, known)}")
        return tuple(known if tasks is None else dict.fromkeys(tasks))

    def _find(self, recipe: Recipe, split: str, task: str) -> tuple[ItemScore, ...] | None:
        found = self._memory.get((recipe.fingerprint, split, task))
        if found is None and self._known is not None:
            found = self._known(recipe.fingerprint, split, task)
        if found is None and self._kept is not None:
            done = self._kept.find(recipe.fingerprint, split, (task,))
            found = None if done is None else done.items
        return found

    @cached_property
    def _judge(self) -> Judge:
        return Judge(self.spec.sandbox)

    @cached_property
    def _tasks(self) -> dict[str, EvalTask]:
        return open_tasks(self.spec, self._judge)

    def _worker_for(self, recipe: Recipe) -> EvaluationWorker:
        models = (recipe.base, recipe.experts)
        if self._held is None or self._held[0] != models:
            _ = self._judge.level, self._tasks  # check the sandbox and the tasks before a model is loaded
            self._held = None  # free the other model first: two might not fit
            backend = open_backend(replace(self.spec, base=recipe.base, experts=recipe.experts))
            self._held = models, EvaluationWorker(backend, self._tasks, self._judge)
        return self._held[1]
