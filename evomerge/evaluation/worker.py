"""Score one recipe or model folder after another: the worker, which holds base, experts and tasks."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType

from evomerge.engine.load_merger import merger_for
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.judging.sandbox import SandboxSettings
from evomerge.evaluation.learning_targets import given_answers, gold_answers
from evomerge.evaluation.task_base import EvalTask, Item, ask
from evomerge.evaluation.task_settings import TaskSpec
from evomerge.evaluation.tasks import load_tasks
from evomerge.inference.backend import BACKENDS, Backend
from evomerge.inference.backend_settings import BackendSettings
from evomerge.inference.chat import ChatTemplate
from evomerge.inference.deadline import Ended
from evomerge.inference.device import default_device, default_dtype
from evomerge.inference.learning.settings import LearnSettings
from evomerge.types import Artifact, Done, Expert, ItemScore, Lesson, Recipe, Work
from evomerge.weights.sources import resolve


@dataclass(frozen=True)
class WorkerSpec:
    """All that a worker is made of; small and picklable, so that it can be built on another machine.

    Attributes:
        base: model name of the base.
        experts: the experts of the recipes to come; none if only model folders are scored.
        tasks: tasks that work may name.
        backend: what generates; device and dtype are filled in, so that all workers compute alike.
        sandbox: how answers are judged.
        threads: torch's threads in this worker; None leaves them.
        seconds: that one work may take; None: as long as it takes.
    """

    base: str
    experts: tuple[Expert, ...]
    tasks: tuple[TaskSpec, ...]
    backend: BackendSettings = field(default_factory=BackendSettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    threads: int | None = None
    seconds: float | None = None

    @property
    def device(self) -> str:
        """Torch device."""
        return self.backend.device or default_device()

    @property
    def dtype(self) -> str:
        """Torch dtype name the model computes in."""
        return self.backend.dtype or default_dtype(self.device)


class EvaluationWorker:
    """Scores subjects on tasks. A context manager; ``close`` ends the judge's process, which also ends with this one.

    Args:
        backend: produces the answers.
        tasks: by name.
        judge: whom the tasks ask; closed with the worker.
        seconds: that one work may take, or None.
    """

    def __init__(
        self, backend: Backend, tasks: Mapping[str, EvalTask], judge: Judge, seconds: float | None = None
    ) -> None:
        self._backend = backend
        self._tasks = tasks
        self._judge = judge
        self._seconds = seconds
        self._subject: Recipe | Artifact | None = None  # what the backend holds

    def evaluate(self, work: Work) -> Done:
        """Score ``work``. The items of all its tasks are generated in one call, so that batches stay full; answers are
        judged while others are generated; one that is among the work's known answers keeps the verdict that is known.

        Metrics of a generated item tell its cost: ``tokens``, the ``passes`` of the model that computed them, and
        ``cut`` if the work's allowance cut it off.

        Raises:
            UserError: a task without such items, or a subject that cannot be loaded. Pools record whatever is raised
                as the work's error (:func:`evomerge.cluster.base.attempt`).
            OutOfTime: the answers took longer than the worker's ``seconds``.
        """
        start = time.perf_counter()
        deadline = None if self._seconds is None else time.monotonic() + self._seconds
        items = {name: self._items(work, name) for name in work.tasks}
        self._become(work.subject)
        flat = [item for group in items.values() for item in group]
        costs: list[dict[str, float]] = [{} for _ in flat]
        verdicts = [self._verdicts(work, item) for item in flat]

        def ended(number: int, answer: Ended) -> None:
            cost = costs[number]
            cost["tokens"] = cost.get("tokens", 0.0) + answer.tokens
            cost["passes"] = cost.get("passes", 0.0) + answer.passes
            if answer.cut:
                cost["cut"] = 1.0
            if answer.text not in verdicts[number]:
                self._tasks[flat[number].task].begin(flat[number], answer.text)

        allowances = {name: math.ceil(mean * len(items[name])) for name, mean in work.allowance.items()}
        answers = ask(self._backend, flat, ended, allowances, deadline, work.known)
        found = [known.get(str(answer[0])) for known, answer in zip(verdicts, answers, strict=True)]
        scores: list[ItemScore] = []
        for name in items:
            of_task = [n for n, item in enumerate(flat) if item.task == name]
            asked = [n for n in of_task if found[n] is None]
            judged = iter(self._tasks[name].score([flat[n] for n in asked], [answers[n] for n in asked]))
            scores += [found[n] or next(judged) for n in of_task]
        told = (replace(s, metrics={**s.metrics, **cost}) for s, cost in zip(scores, costs, strict=True))
        level = self._judge.level if any(self._tasks[name].judged for name in work.tasks) else ""
        return Done(work.key, tuple(told), time.perf_counter() - start, level)

    def learn(self, lesson: Lesson) -> Done:
        """Learn the weights that ``lesson`` asks for.

        Raises:
            UserError: see :meth:`evomerge.inference.backend.Backend.learn`.
        """
        start = time.perf_counter()
        targets = given_answers(self._tasks, lesson.answers) + gold_answers(self._tasks, lesson.gold)
        settings = LearnSettings(low=lesson.low, high=lesson.high, seed=lesson.seed)
        self._subject = None
        learned = self._backend.learn(lesson.recipe, targets, settings, lesson.threads)
        counted = Counter(target.task for target in targets)
        return Done(lesson.key, (), time.perf_counter() - start, learned=replace(learned, answers=dict(counted)))

    def close(self) -> None:
        self._judge.close()

    def __enter__(self) -> EvaluationWorker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _items(self, work: Work, task: str) -> Sequence[Item]:
        """The task's items that the work asks for, in the data's order."""
        items = self._tasks[task].items(work.split)
        if task not in work.items:
            return items
        wanted = set(work.items[task])
        return [item for item in items if item.id in wanted]

    def _verdicts(self, work: Work, item: Item) -> Mapping[str, ItemScore]:
        """Scores of known answers to a judged item. Other tasks score all answers together, or take no time."""
        if not self._tasks[item.task].judged or item.samples > 1:
            return {}
        known = work.known.get(item.task, {}).get(item.id, ())
        return {
            a.text: ItemScore(item.task, item.id, a.outcome, a.text, a.metrics) for a in known if a.outcome is not None
        }

    def _become(self, subject: Recipe | Artifact) -> None:
        """Load ``subject``, unless the last work left it loaded: a row of a table comes task by task."""
        if subject == self._subject:
            return
        self._subject = None
        if isinstance(subject, Recipe):
            self._backend.apply(subject)
        else:
            self._backend.load(subject)
        self._subject = subject


def open_tasks(spec: WorkerSpec, judge: Judge) -> dict[str, EvalTask]:
    """The worker's tasks, without its model.

    Raises:
        UserError: see :func:`evomerge.evaluation.tasks.load_tasks`.
    """
    can_sample = bool(BACKENDS[spec.backend.kind].can_sample)
    return load_tasks(spec.tasks, judge, lambda: ChatTemplate(resolve(spec.base)), can_sample)


def open_backend(spec: WorkerSpec) -> Backend:
    """The worker's model, without its tasks.

    Raises:
        UserError: an unknown backend, or a missing model.
    """
    merger = merger_for(spec.base, spec.experts) if spec.experts else None
    backend: Backend = BACKENDS[spec.backend.kind](
        resolve(spec.base),
        merger,
        dtype=spec.dtype,
        device=spec.device,
        batch_size=spec.backend.batch_size,
        threads=spec.threads,
        drafts=spec.backend.drafts,
    )
    return backend


def build_worker(spec: WorkerSpec) -> EvaluationWorker:
    """Load everything ``spec`` names: tasks and sandbox first, since errors there show in a second. The sandbox is not
    started if no task is judged.

    Raises:
        UserError: an unknown task or backend, a bad data file, a missing model, or no sandbox on this system.
    """
    judge = Judge(spec.sandbox)
    try:
        tasks = open_tasks(spec, judge)
        if any(task.judged for task in tasks.values()):
            _ = judge.level
        backend = open_backend(spec)
    except BaseException:
        judge.close()
        raise
    return EvaluationWorker(backend, tasks, judge, spec.seconds)
