"""A race of merges of a real model: rungs are generated and judged in the worker, and add up to the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evomerge.cluster.serial import SerialPool
from evomerge.evaluation.task_settings import TaskSpec
from evomerge.evaluation.worker import EvaluationWorker, WorkerSpec, build_worker
from evomerge.inference.backend_settings import BackendSettings
from evomerge.recipes.space import SearchSpace
from evomerge.search.loop import run_search
from evomerge.search.store import Store
from evomerge.types import Done, Expert, Objective, Trial, Work


class Recording:
    """A worker that remembers how many items each work had."""

    def __init__(self, worker: EvaluationWorker) -> None:
        self._worker = worker
        self.sizes: list[int] = []

    def evaluate(self, work: Work) -> Done:
        done = self._worker.evaluate(work)
        self.sizes.append(len(done.items))
        return done


def test_rungs_of_a_real_model_add_up(pico_model: Callable, pico_adapter: Callable, tmp_path: Path) -> None:
    experts = (Expert("sql", str(pico_adapter(1))), Expert("json", str(pico_adapter(2))))
    space = SearchSpace(str(pico_model()), experts, ("core_task_arithmetic",), dtype="float32")
    spec = WorkerSpec(
        space.base,
        experts,
        tuple(TaskSpec(name, name, limit=24, max_new_tokens=6) for name in ("sql", "json")),
        BackendSettings(dtype="float32", device="cpu"),
    )
    objectives, budget = [Objective("sql", "sql"), Objective("json", "json")], len(space.anchors()) + 3

    def search(name: str, racing: bool) -> tuple[list[Trial], list[int]]:
        with build_worker(spec) as worker:
            recording, store = Recording(worker), Store(tmp_path / name)
            pool = SerialPool(recording)
            trials = run_search(pool, space, store, objectives, budget, "random", racing=racing, ahead=0)
            store.close()
        return trials, recording.sizes

    whole, _ = search("whole", racing=False)
    raced, sizes = search("raced", racing=True)
    assert sizes[: len(space.anchors())] == [48] * len(space.anchors())
    assert sizes[len(space.anchors()) :][0] == 12  # the first rung: 6 items of each task
    for one, other in zip(whole, raced, strict=True):
        assert other.error is None and one.params == other.params
        answers = {(i.task, i.item): (i.outcome, i.answer) for i in one.items}
        assert all(answers[i.task, i.item] == (i.outcome, i.answer) for i in other.items)
        assert other.stopped or [i.item for i in other.items] == [i.item for i in one.items]
