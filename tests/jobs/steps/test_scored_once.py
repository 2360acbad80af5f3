"""A model that cannot be scored after the search: the next finalist takes its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_space import ToySpace
from toy_worker import ToySpec, ToyWorker

from evomerge.cluster.serial import SerialPool
from evomerge.errors import RunFailed, UserError
from evomerge.jobs.steps.choose_winner import FINALISTS, select
from evomerge.jobs.steps.phases import Phases
from evomerge.jobs.steps.scored_once import Measurement, recipe_request
from evomerge.search.base import Silence
from evomerge.search.choose import finalists
from evomerge.search.loop import run_search
from evomerge.search.store import Store
from evomerge.types import Done, ItemScore, Objective, Pool, Recipe, Trial, Work

SPACE = ToySpace()
OBJECTIVES = (Objective("a", "a"), Objective("b", "b"))


class Failing:
    """A toy worker that cannot score some recipes on some split, ``but`` anchors on tasks, and remembers what it was
    asked."""

    def __init__(self, recipes: list[Recipe], split: str = "selection", but: tuple[tuple[str, str], ...] = ()) -> None:
        self.recipes, self.split = recipes, split
        anchors = dict(SPACE.anchors())
        self.but = [(anchors[label], task) for label, task in but]
        self.seen: list[tuple[str, str]] = []

    def evaluate(self, work: Work) -> Done:
        assert isinstance(work.subject, Recipe)
        self.seen.append((work.subject.fingerprint, work.tasks[0]))
        excepted = (work.subject, work.tasks[0]) in self.but
        if work.split == self.split and work.subject in self.recipes and not excepted:
            raise ValueError("out of time")
        # Of the task alone the toy would take the first expert's weight.
        done = ToyWorker(ToySpec()).evaluate(Work(work.key, work.subject, work.split, ("a", "b")))
        return Done(work.key, tuple(i for i in done.items if i.task in work.tasks), done.seconds)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    run_search(SerialPool(Failing([])), SPACE, store, OBJECTIVES, 14, "random", ahead=0)
    yield store
    store.close()


def measurement(store: Store, pool: Pool) -> Measurement:
    return Measurement(pool, store, OBJECTIVES, dict(SPACE.anchors()), Silence())


def chosen(store: Store, worker: Failing) -> Trial:
    return select(measurement(store, SerialPool(worker)), store.trials())


def test_the_next_best_takes_the_place_of_a_finalist_that_fails(store: Store) -> None:
    ranked = finalists(store.trials(), OBJECTIVES, 14)
    failing = [trial.recipe for trial in ranked[:2]]
    worker = Failing(failing)
    assert chosen(store, worker) == ranked[2]
    tried = {fingerprint for fingerprint, _ in worker.seen}
    assert {trial.recipe.fingerprint for trial in ranked[: FINALISTS + 2]} <= tried

    again = Failing(failing)
    assert chosen(Store(store.folder), again) == ranked[2]
    assert again.seen == []  # neither what was scored nor what failed


def test_finalists_are_ranked_by_what_they_keep_of_the_experts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the winner is, not by the raw scores: task a is harder, its expert solves 40 % of it."""
    monkeypatch.setattr("evomerge.jobs.steps.choose_winner.FINALISTS", 1)
    monkeypatch.setattr("evomerge.jobs.steps.choose_winner.ANCHORS", 0)
    solved = {"expert:a": (40, 0), "expert:b": (0, 100), None: (36, 50), "uniform": (30, 90)}
    trials = []
    for number, (label, (a, b)) in enumerate(solved.items()):
        items = [ItemScore(task, str(i), float(i < n)) for task, n in (("a", a), ("b", b)) for i in range(100)]
        recipe = SPACE.recipe(0.1 * number, 0.3)
        trials.append(Trial(number, recipe, SPACE.encode(recipe), label, tuple(items), 1.0, ""))
    winner = select(measurement(store, SerialPool(Failing([]))), trials)
    assert winner.label == "uniform", "it keeps 75 % of both experts, the other one 90 % of a and 50 % of b"


def test_a_specialist_or_all_finalists_failing_is_one_line(store: Store) -> None:
    everything = [trial.recipe for trial in store.trials()]
    with pytest.raises(RunFailed, match=r"expert:a on the selection items of a: ValueError: out of time; .*to resume"):
        chosen(store, Failing(everything))
    with pytest.raises(RunFailed, match="no candidate could be scored on the selection items"):
        chosen(store, Failing(everything, but=(("expert:a", "a"), ("expert:b", "b"))))


def test_what_the_results_need_is_tried_again(store: Store) -> None:
    named = (("best", 0.2), ("base", 0.3))
    needed, other = (recipe_request(name, SPACE.recipe(weight, 0.1), ("a", "b")) for name, weight in named)
    failing = Failing([needed.subject, other.subject], "test")
    with pytest.raises(RunFailed, match="best on the test items of a: ValueError: out of time; best on the test"):
        measurement(store, SerialPool(failing)).score([needed], "test", [other])
    healthy = Failing([])
    assert measurement(store, SerialPool(healthy)).score([needed], "test", [other]) == [other]
    assert [fingerprint for fingerprint, _ in healthy.seen] == [needed.key] * 2
    assert store.evaluation(needed.key, "test", ("a", "b")) is not None


def test_an_interrupt_keeps_what_is_finished(store: Store) -> None:
    class Interrupted:
        """Ctrl-C comes while this one waits, and two results are there already."""

        def __init__(self, pool: SerialPool) -> None:
            self._pool = pool
            self.size, self.submit, self.close = pool.size, pool.submit, pool.close

        def wait(self, timeout: float | None = None) -> list[Done]:
            if timeout is None:
                raise KeyboardInterrupt
            return [*self._pool.wait(), *self._pool.wait()]

    row = recipe_request("x", SPACE.recipe(0.2, 0.1), ("a", "b"))
    with pytest.raises(KeyboardInterrupt):
        measurement(store, Interrupted(SerialPool(Failing([])))).score([row], "test")
    assert Store(store.folder).evaluation(row.key, "test", ("a", "b")) is not None


def test_what_stopped_a_phase_is_told_and_not_what_failed_after_it(tmp_path: Path) -> None:
    seconds = Phases(tmp_path)
    (tmp_path / "environment.json").unlink()
    (tmp_path / "environment.json").mkdir()  # as little to be written as on a full disk
    with pytest.raises(ZeroDivisionError), seconds("search"):
        _ = 1 / 0
    with pytest.raises((OSError, UserError)), seconds("search"):
        pass


class Answering:
    """A worker that notes what each unit of work is given, and is interrupted once."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop
        self.given: dict[str, list[str]] = {}

    def evaluate(self, work: Work) -> Done:
        if len(self.given) == self.stop:
            raise KeyboardInterrupt
        assert isinstance(work.subject, Recipe)
        [task] = work.tasks
        self.given[work.key] = [answer.text for answer in work.known[task].get("0", ())]
        answer = f"{work.subject.weights[0][0]:.1f} {task}"
        return Done(work.key, (ItemScore(task, "0", 1.0, answer, {"tokens": 2.0}),), 0.0)


def test_later_models_get_the_answers_of_earlier_ones_also_after_an_interrupt(tmp_path: Path) -> None:
    first, then = (
        [recipe_request(f"{weight}", SPACE.recipe(weight, 0.1), ("a",)) for weight in weights]
        for weights in ((0.1, 0.2, 0.3), (0.1, 0.4, 0.5, 0.6))
    )

    def scored(folder: Path, worker: Answering) -> dict[str, list[str]]:
        for requests in (first, then):
            measurement(Store(folder), SerialPool(worker)).score(requests, "test")
        return worker.given

    whole = scored(tmp_path / "whole", Answering())
    assert list(whole.values()) == [
        [],
        [],  # the first is being scored
        ["0.1 a"],
        ["0.3 a", "0.2 a"],
        ["0.1 a", "0.3 a", "0.2 a"],
        ["0.4 a", "0.1 a", "0.3 a", "0.2 a"],
    ]
    for stop in range(6):
        killed, resumed = Answering(stop), Answering()
        with pytest.raises(KeyboardInterrupt):
            scored(tmp_path / str(stop), killed)
        assert killed.given | scored(tmp_path / str(stop), resumed) == whole
