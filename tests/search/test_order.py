"""One worker and one seed give one sequence of trials, for any timing and any moment of a kill."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import pytest
from toy_space import ToySpace
from toy_worker import ToySpec, ToyWorker

from evomerge.cluster.base import attempt
from evomerge.cluster.serial import SerialPool
from evomerge.search.loop import run_search
from evomerge.search.samplers import SAMPLERS
from evomerge.search.store import Store
from evomerge.types import Done, Objective, Pool, Work, Worker

SPACE = ToySpace()
BUDGET = 8


class Killed(BaseException):
    """Ends the process as ``kill -9`` does, as far as the run folder can tell: nothing is written after it."""


class Mortal:
    """A toy worker that is killed in its evaluation number ``last``."""

    def __init__(self, last: int) -> None:
        self._left = last

    def evaluate(self, work: Work) -> Done:
        self._left -= 1
        if self._left < 0:
            raise Killed
        return ToyWorker(ToySpec(items=200)).evaluate(work)


class Timed:
    """A pool of one that evaluates the moment it can, or only once somebody waits for it."""

    size = 1

    def __init__(self, worker: Worker, early: bool) -> None:
        self._worker, self._early = worker, early
        self._queue: deque[Work] = deque()

    def submit(self, work: Work) -> None:
        self._queue.append(work)

    def wait(self, timeout: float | None = None) -> list[Done]:
        if not self._queue or (timeout == 0 and not self._early):
            return []
        count = len(self._queue) if self._early else 1
        return [attempt(self._worker, self._queue.popleft()) for _ in range(count)]

    def close(self) -> None:
        self._queue.clear()


def search(folder: Path, pool: Pool, sampler: str, ahead: int, budget: int = BUDGET, space: ToySpace = SPACE) -> None:
    store = Store(folder)
    try:
        run_search(pool, space, store, [Objective(name) for name in space.names], budget, sampler, ahead=ahead)
    finally:
        store.close()


def sequence(folder: Path) -> list[tuple[int, dict[str, Any], str | None]]:
    return [(trial.number, dict(trial.params), trial.label) for trial in Store(folder).trials()]


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_time_does_not_matter(tmp_path: Path, sampler: str) -> None:
    for early in (True, False):
        search(tmp_path / str(early), Timed(ToyWorker(ToySpec(items=200)), early), sampler, ahead=1)
    assert sequence(tmp_path / "True") == sequence(tmp_path / "False")
    assert len(sequence(tmp_path / "True")) == BUDGET


@pytest.mark.parametrize(("sampler", "ahead"), [*((sampler, 1) for sampler in SAMPLERS), ("gp", 0)])
def test_a_killed_search_goes_on_as_if_it_had_not_been(tmp_path: Path, sampler: str, ahead: int) -> None:
    search(tmp_path / "whole", SerialPool(Mortal(BUDGET)), sampler, ahead)
    for lifetime in (2, 4):  # among the anchors, and while the sampler proposes
        with pytest.raises(Killed):
            search(tmp_path / "killed", SerialPool(Mortal(lifetime)), sampler, ahead)
    search(tmp_path / "killed", SerialPool(Mortal(BUDGET)), sampler, ahead)
    assert sequence(tmp_path / "killed") == sequence(tmp_path / "whole")


def test_duplicates_before_and_after_a_kill(tmp_path: Path) -> None:
    """Where a proposal may equal a finished or running candidate, and proposals get random after some such."""
    space = ToySpace(step=0.5)  # 18 recipes
    search(tmp_path / "whole", SerialPool(Mortal(99)), "random", 2, 13, space)
    for lifetime in (6, 2):
        with pytest.raises(Killed):
            search(tmp_path / "killed", SerialPool(Mortal(lifetime)), "random", 2, 13, space)
    search(tmp_path / "killed", SerialPool(Mortal(99)), "random", 2, 13, space)
    assert sequence(tmp_path / "killed") == sequence(tmp_path / "whole")
    assert len(sequence(tmp_path / "whole")) == 13


def test_a_larger_budget_goes_on_as_if_it_had_been_the_first(tmp_path: Path) -> None:
    search(tmp_path / "whole", SerialPool(Mortal(BUDGET)), "gp", 0)
    for budget in (3, 6, BUDGET):
        search(tmp_path / "grown", SerialPool(Mortal(BUDGET)), "gp", 0, budget)
    assert sequence(tmp_path / "grown") == sequence(tmp_path / "whole")
