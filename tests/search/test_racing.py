"""Racing: nested rungs, an estimate that the order does not bias, and a loop that survives kills."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from toy_space import ToySpace, objectives
from toy_worker import ToySpec, ToyWorker

from evomerge.cluster.serial import SerialPool
from evomerge.search.choose import choose, finalists, front, score_matrix, with_references
from evomerge.search.loop import run_search
from evomerge.search.pareto import hypervolume
from evomerge.search.racing import Course, course, matters, whole_score
from evomerge.search.store import Store
from evomerge.types import Done, Pool, Trial, Work

SPACE = ToySpace(("a", "b"))


def solved(abilities: Sequence[float], items: int, likeness: float = 0.9, seed: int = 0) -> np.ndarray:
    """Outcomes (N, items) of candidates with these probits, on items of random difficulty."""
    rng = np.random.default_rng(seed)
    difficulty, own = rng.standard_normal(items), rng.standard_normal((len(abilities), items))
    latent = math.sqrt(likeness) * difficulty + math.sqrt(1 - likeness) * own
    return (np.array(abilities)[:, None] > latent).astype(float)


ANCHORS = (-2.0, -0.5, 0.0, 0.1, 0.3, 0.5)


def names(items: int) -> list[str]:
    return [f"item {n}" for n in range(items)]


# --- the order and the estimate ------------------------------------------------------------------------------------


def test_rungs_are_nested_and_end_with_all_items():
    for items in (3, 10, 14, 60, 100, 1000):
        own = course(solved(ANCHORS, items), names(items))
        assert sorted(own.order) == list(range(items))
        ends = [own.rung(0)]
        while ends[-1] < items:
            ends.append(own.rung(ends[-1]))
        assert ends == sorted(set(ends)) and len(ends) <= 3
        assert items < 12 or ends[0] < items


def test_contested_items_come_first_and_every_stratum_is_met():
    outcomes = solved(ANCHORS, 200)
    own = course(outcomes, names(200))
    contested = (outcomes.mean(axis=0) > 0) & (outcomes.mean(axis=0) < 1)
    assert contested[own.order[:50]].mean() > 1.2 * contested.mean()
    assert set(own.strata[own.order[:50]]) == set(own.strata)


def test_the_order_depends_on_the_anchors_alone():
    one, two = (course(solved(ANCHORS, 50), names(50)) for _ in range(2))
    assert (one.order == two.order).all()
    assert (course(solved(ANCHORS, 50, seed=1), names(50)).order != one.order).any()


def rung_of(outcomes: np.ndarray, own: Course, size: int) -> np.ndarray:
    part = np.full(len(outcomes), np.nan)
    part[own.order[:size]] = outcomes[own.order[:size]]
    return part


@pytest.mark.parametrize("size", [8, 40])
def test_the_estimate_is_right_on_average_and_knows_its_error(size):
    """Contested items come first: plain means would be off, the estimate is not."""
    apart, plain, scaled = [], [], []
    for seed in range(150):
        ability = float(np.random.default_rng(seed).uniform(-0.6, 0.6))
        outcomes = solved([*ANCHORS, 0.2, 0.4, 0.25, ability], 100, seed=seed)
        own = course(outcomes[: len(ANCHORS)], names(100))
        part = rung_of(outcomes[-1], own, size)
        mean, variance = whole_score(part, outcomes[:-1], own.strata)
        apart.append(mean - outcomes[-1].mean())
        plain.append(np.nanmean(part) - outcomes[-1].mean())
        scaled.append(apart[-1] / math.sqrt(variance))
    assert abs(np.mean(apart)) < 0.015
    assert np.std(apart) < 0.75 * np.sqrt(np.mean(np.square(plain)))
    assert 0.7 < np.std(scaled) < 1.1 and np.mean(np.array(scaled) < -1.65) < 0.08


def test_all_items_leave_no_doubt():
    outcomes = solved([*ANCHORS, 0.2], 60)
    own = course(outcomes[:-1], names(60))
    mean, variance = whole_score(outcomes[-1], outcomes[:-1], own.strata)
    assert mean == pytest.approx(outcomes[-1].mean()) and variance == 0.0


def test_what_matters():
    whole = np.array([[0.6, 0.6], [0.9, 0.1], [0.1, 0.9]])
    small, large, one = np.full(2, 1e-4), np.full(2, 0.04), np.ones(2)
    assert matters(np.array([0.3, 0.3]), small, whole, one) == 0.0
    assert matters(np.array([0.3, 0.3]), large, whole, one) > 0.05  # nothing is sure yet
    assert matters(np.array([0.65, 0.65]), small, whole, one) > 0.99
    assert matters(np.array([0.85, 0.4]), small, whole, one) > 0.99  # extends the front
    assert matters(np.array([0.57, 0.57]), small, whole, one) < 0.05
    assert matters(np.array([0.61, 0.55]), small, whole, one) < 0.2  # a longer front, by next to nothing
    # by retention it is the best: the first task's expert solves less
    assert matters(np.array([0.55, 0.7]), small, whole, np.array([0.5, 0.9])) > 0.9


# --- the loop ------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Ends the process as ``kill -9`` does, as far as the run folder can tell: nothing is written after it."""


@dataclass
class Mortal:
    """A toy worker that counts the items it has scored, and dies in its evaluation number ``last``."""

    last: int = 10**6
    scored: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    def evaluate(self, work: Work) -> Done:
        self.last -= 1
        if self.last < 0:
            raise Killed
        done = ToyWorker(ToySpec(items=60)).evaluate(work)
        if work.subject.method == "ties":  # solves no item of the harder half
            items = tuple(replace(i, outcome=i.outcome * (int(i.item.split("-")[1]) < 20)) for i in done.items)
            done = replace(done, items=items)
        self.scored.update((work.subject.fingerprint, item.task, item.item) for item in done.items)
        return done


def search(
    folder: Path,
    worker: Mortal,
    sampler: str = "random",
    budget: int = 40,
    ahead: int = 0,
    pool: Pool | None = None,
    **given,
) -> list[Trial]:
    store = Store(folder)
    try:
        return run_search(
            pool or SerialPool(worker), SPACE, store, objectives(SPACE), budget, sampler, ahead=ahead, **given
        )
    finally:
        store.close()


def test_racing_saves_items_and_loses_neither_winner_nor_front(tmp_path):
    """Random proposals do not depend on outcomes, so that both searches score the same candidates."""
    all_items, raced = Mortal(), Mortal()
    whole = search(tmp_path / "whole", all_items)
    trials = search(tmp_path / "raced", raced, racing=True)
    assert [t.params for t in whole] == [t.params for t in trials]
    stopped = {t.number for t in trials if t.stopped}
    assert len(stopped) >= 8 and not any(t.stopped for t in trials if t.label)
    assert raced.scored.total() < 0.85 * all_items.scored.total()
    known = with_references(objectives(SPACE), whole)
    volumes = [
        hypervolume(1 - score_matrix([t.scores for t in front(run, known)], known), np.ones(2))
        for run in (whole, trials)
    ]
    assert 0.97 * volumes[0] < volumes[1] <= volumes[0]
    best = [finalists(run, known, 8) for run in (whole, trials)]
    winners = [run[choose([t.scores for t in run], known)].number for run in best]
    assert winners[0] == winners[1]
    for trial in trials:
        if trial.number not in stopped:
            assert trial.items == whole[trial.number].items  # the same items in the same order


@pytest.mark.parametrize(("sampler", "ahead"), [("random", 0), ("random", 1), ("gp", 1), ("nsga2", 0), ("cmaes", 1)])
def test_a_killed_race_goes_on_and_pays_no_rung_twice(tmp_path, sampler, ahead):
    whole = search(tmp_path / "whole", Mortal(), sampler, 22, ahead, racing=True)
    assert sampler == "gp" or any(t.stopped for t in whole)
    paid: Counter[tuple[str, str, str]] = Counter()
    kills = 0
    for lifetime in itertools.cycle((3, 1, 2, 5)):
        worker = Mortal(lifetime)
        try:
            trials = search(tmp_path / "killed", worker, sampler, 22, ahead, racing=True)
            break
        except Killed:
            kills += 1
        finally:
            paid += worker.scored
    assert kills > 5
    without_time = [(t.number, t.params, t.label, t.items, t.stopped) for t in trials]
    assert without_time == [(t.number, t.params, t.label, t.items, t.stopped) for t in whole]
    assert set(paid.values()) == {1}


class AnyOrder:
    """A pool of three workers that finish in any order."""

    size = 3

    def __init__(self, worker: Mortal) -> None:
        self._worker, self._queue, self._random = worker, [], random.Random(0)

    def submit(self, work: Work) -> None:
        self._queue.append(work)

    def wait(self, timeout: float | None = None) -> list[Done]:
        if timeout == 0 or not self._queue:
            return []
        return [self._worker.evaluate(self._queue.pop(self._random.randrange(len(self._queue))))]

    def close(self) -> None:
        self._queue.clear()


def test_several_workers_race_too(tmp_path):
    worker = Mortal()
    trials = search(tmp_path, worker, pool=AnyOrder(worker), ahead=1, racing=True)
    assert len(trials) == 40 and any(t.stopped for t in trials)
    assert set(worker.scored.values()) == {1}
    assert all(len(t.items) == 120 for t in trials if not t.stopped)


def test_racing_may_be_turned_off_halfway(tmp_path):
    with pytest.raises(Killed):
        search(tmp_path, Mortal(12), racing=True)
    worker = Mortal()
    trials = search(tmp_path, worker)
    assert len(trials) == 40 and set(worker.scored.values()) == {1}
    assert not any(t.stopped for t in trials[12:])


def test_a_rung_that_fails_fails_the_candidate(tmp_path):
    class Failing(Mortal):
        failed: str | None = None

        def evaluate(self, work: Work) -> Done:
            if self.failed is None and any(key[0] == work.subject.fingerprint for key in self.scored):
                self.failed = work.key
                raise ValueError("no memory")
            return super().evaluate(work)

    worker = Failing()
    failed = [t for t in search(tmp_path, worker, racing=True) if t.error is not None]
    assert [str(t.number) for t in failed] == [worker.failed]
    assert failed[0].items == () and not failed[0].stopped
