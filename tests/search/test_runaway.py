"""No candidate may generate many times the tokens of the others."""

from __future__ import annotations

import dataclasses

import pytest
from toy_space import ToySpace
from toy_worker import ToySpec, ToyWorker

from evomerge.cluster.serial import SerialPool
from evomerge.search.base import Silence
from evomerge.search.loop import run_search
from evomerge.search.runaway import allowances, cut_off
from evomerge.search.store import Store
from evomerge.search.tables import trials_table
from evomerge.types import Done, ItemScore, Objective, Trial, Work

SPACE = ToySpace()


def trial(tokens: dict[str, list[int]], error: str | None = None) -> Trial:
    items = tuple(
        ItemScore(task, str(n), 1.0, "", {"tokens": float(count)} if count else {})
        for task, counts in tokens.items()
        for n, count in enumerate(counts)
    )
    return Trial(0, SPACE.recipe(0.5, 0.5), {}, None, items, 1.0, "", error)


def test_the_allowance_is_a_multiple_of_the_median_candidate():
    trials = [trial({"sql": [mean - 5, mean + 5], "choices": [0, 0]}) for mean in (20, 30, 40, 50, 1000)]
    assert allowances(trials, 5.0) == {"sql": 200.0}
    assert allowances(trials, None) == {}
    assert allowances(trials[:4], 5.0) == {}
    assert allowances([*trials[:4], dataclasses.replace(trials[4], error="died")], 5.0) == {}


def test_short_answers_are_never_cut_short():
    assert allowances([trial({"letters": [1, 1]})] * 5, 5.0) == {"letters": 32.0}


class Rambling:
    """Answers of 10 tokens, but one candidate says 1000 where it may: the decoder stops it at its allowance."""

    def __init__(self) -> None:
        self.works: list[Work] = []

    def evaluate(self, work: Work) -> Done:
        self.works.append(work)
        done = ToyWorker(ToySpec(items=20)).evaluate(work)
        looping = len(self.works) == 8
        items = []
        for item in done.items:
            most = work.allowance.get(item.task, 1000.0)
            cost = {"tokens": min(most, 1000.0 if looping else 10.0)} | (
                {"cut": 1.0} if most < 1000.0 and looping else {}
            )
            items.append(dataclasses.replace(item, metrics={**item.metrics, **cost}))
        return dataclasses.replace(done, items=tuple(items))


@pytest.mark.parametrize("runaway", [5.0, None])
def test_a_search_bounds_its_candidates_and_tells_of_the_cut(tmp_path, runaway):
    notes: list[str] = []

    class Notes(Silence):
        def note(self, text: str) -> None:
            notes.append(text)

    worker, store = Rambling(), Store(tmp_path)
    goals = [Objective(name, expert=name) for name in SPACE.names]
    trials = run_search(SerialPool(worker), SPACE, store, goals, 10, "random", 0, Notes(), ahead=0, runaway=runaway)
    store.close()
    bounds = [work.allowance for work in worker.works]
    assert bounds[:5] == [{}] * 5
    assert bounds[5:] == [{"a": 50.0, "b": 50.0} if runaway else {}] * 5
    cut = [0] * 7 + [40 if runaway else 0] + [0] * 2
    assert [cut_off(trial) for trial in trials] == list(trials_table(trials)["cut"]) == cut
    assert {item.metrics["tokens"] for item in trials[7].items} == {50.0 if runaway else 1000.0}
    told = "#7: 40 of 40 answers were cut off: many times the tokens of the median candidate (search.runaway)"
    assert notes == ([told] if runaway else [])
