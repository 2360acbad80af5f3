"""What the search learns from, what it keeps of it, and when it goes on without."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from toy_worker import ToySpec, ToyWorker

from evomerge.cluster.serial import SerialPool
from evomerge.engine.load_merger import merger_for
from evomerge.engine.merger import Merger
from evomerge.errors import UserError
from evomerge.jobs.steps.learn_profile import FILE, learned_start, score_alone, with_profile
from evomerge.jobs.steps.scored_once import Measurement
from evomerge.recipes.space import SearchSpace
from evomerge.search.base import Silence
from evomerge.search.settings import SearchSettings
from evomerge.search.store import Store
from evomerge.types import Done, Expert, Learned, Lesson, Objective, Work

OBJECTIVES = (Objective("a", "sql"), Objective("b", "json"), Objective("c"))
WEIGHTS = ((0.5, 1.25), (0.001, 0.75))


class Pupil(ToyWorker):
    """A toy worker that remembers what it did, and learns the same weights from anything, or fails to."""

    def __init__(self, error: str | None = None, after: float = 1.0) -> None:
        super().__init__(ToySpec())
        self.error, self.after = error, after
        self.lessons: list[Lesson] = []
        self.scored: list[str] = []

    def evaluate(self, work: Work) -> Done:
        self.scored.append(f"{work.split} {work.tasks[0]}")
        # Of one task alone the toy would take the first expert's weight.
        done = super().evaluate(replace(work, tasks=("a", "b") if work.tasks[0] != "c" else work.tasks))
        return replace(done, items=tuple(item for item in done.items if item.task in work.tasks))

    def learn(self, lesson: Lesson) -> Done:
        self.lessons.append(lesson)
        if self.error is not None:
            raise UserError(self.error)
        return Done(lesson.key, (), 66.0, learned=Learned(WEIGHTS, 1.0, 24, 2.0, self.after, {"a": 9, "b": 7}))


@pytest.fixture
def merger(pico_model, pico_adapter) -> Merger:
    experts = tuple(Expert(name, str(pico_adapter(n))) for n, name in enumerate(("sql", "json"), 1))
    return merger_for(str(pico_model()), experts)


@pytest.fixture
def space(pico_adapter) -> SearchSpace:
    experts = tuple(Expert(name, str(pico_adapter(n))) for n, name in enumerate(("sql", "json"), 1))
    return SearchSpace("base", experts, ("core_task_arithmetic", "core_tsv", "ties"), weight_range=(0.0, 1.5))


def start_of(folder: Path, merger: Merger, space: SearchSpace, worker: Pupil, **values):
    store = Store(folder)
    measurement = Measurement(SerialPool(worker), store, OBJECTIVES, dict(space.anchors()), Silence())
    score_alone(measurement, folder)
    return learned_start(measurement, merger, space, SearchSettings(**{"seed": 3, **values}), 2, folder)


def test_own_right_answers_of_each_tasks_expert_are_learned(tmp_path, merger, space, caplog):
    worker = Pupil()
    with caplog.at_level(logging.INFO):
        start = start_of(tmp_path, merger, space, worker)
    assert set(worker.scored) == {"search a", "search b", "search c"}
    (lesson,) = worker.lessons
    store = Store(tmp_path)
    for task, name in (("a", "sql"), ("b", "json")):
        recipe = dict(space.anchors())[f"expert:{name}"]
        right = [i for i in store.evaluation(recipe.fingerprint, "search", (task,)) if i.outcome == 1]
        assert [item for item in lesson.answers if item.task == task] == right and right
    assert {item.task for item in lesson.answers} == {"a", "b"} and lesson.gold == ()
    assert lesson.recipe.method == "core_tsv" and (lesson.low, lesson.high) == (0.001, 1.5)
    assert (lesson.seed, lesson.threads) == (3, 2)
    said = "learned weights: 24 steps, 1.1 min, held-back loss 2.00 -> 1.00 nats an answer"
    assert f"{said} (no answers to learn from for c)" in caplog.text
    assert start.profile.weights == WEIGHTS and start.profile.method == "core_tsv"


def test_a_resumed_run_reads_what_was_learned(tmp_path, merger, space):
    first, worker = start_of(tmp_path, merger, space, Pupil()), Pupil()
    assert start_of(tmp_path, merger, space, worker) == first
    assert not worker.lessons and not worker.scored


def test_reference_answers_are_learned_if_asked_for(tmp_path, merger, space):
    worker = Pupil()
    start_of(tmp_path, merger, space, worker, learned="gold")
    assert worker.lessons[0].gold == ("a", "b", "c") and worker.lessons[0].answers == ()


def test_the_space_takes_the_profile_and_lines(space, merger, tmp_path):
    start = start_of(tmp_path, merger, space, Pupil())
    assert [p.name for p in with_profile(space, start, 2).profiles] == ["lines", "learned"]
    own = replace(space, modifiers=("lines",))
    assert [p.name for p in with_profile(own, start, 2).profiles] == ["learned"], "it would be LiNeS twice"
    assert dict(with_profile(space, start, 2).anchors())["learned"].weights == WEIGHTS


@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        (Pupil("there are too few answers"), "UserError: there are too few answers"),
        (Pupil(after=2.0), "nothing was gained on the answers held back"),
    ],
)
def test_the_search_goes_on_without(tmp_path, merger, space, caplog, worker, reason):
    with caplog.at_level(logging.INFO):
        start = start_of(tmp_path, merger, space, worker)
    assert start.profile is None and start.digest is None and with_profile(space, start, 2) == space
    assert f"no learned weights: {reason}" in caplog.text
    again = Pupil()
    assert start_of(tmp_path, merger, space, again).line == start.line and not again.lessons


def left_out(folder: Path) -> str:
    return str(json.loads((folder / FILE).read_text())["left_out"])


def test_what_cannot_be_learned_is_said_before_a_worker_tries(tmp_path, merger, space, pico_model, pico_adapter):
    worker = Pupil()
    start_of(tmp_path / "1", merger, replace(space, methods=("ties",)), worker)
    assert "add core_tsv or core_task_arithmetic" in left_out(tmp_path / "1")
    alone = SearchSpace("base", space.experts[:1], ("core_tsv",))
    start_of(tmp_path / "2", merger, alone, worker)
    assert "one expert alone" in left_out(tmp_path / "2")
    full = Expert("json", str(pico_model(seed=7)))
    mixed = merger_for(str(pico_model()), (space.experts[0], full))
    start_of(tmp_path / "3", mixed, replace(space, methods=("ties",)), worker)
    assert "expert 'json' is no LoRA adapter alone" in left_out(tmp_path / "3")
    silent = replace(space, weight_range=(0.1, 0.9), methods=("core_tsv",))  # no expert alone is in this space
    start_of(tmp_path / "4", merger, silent, worker)
    assert "no expert gave a right answer" in left_out(tmp_path / "4")
    assert not worker.lessons


@pytest.mark.parametrize("text", ['{"weights": [[1, 2]], "method": "core_tsv"}', '{"method": "core_tsv"}', "{"])
def test_a_damaged_file_is_refused(tmp_path, merger, space, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UserError, match=r"learned\.json"):
        start_of(tmp_path, merger, space, Pupil())
