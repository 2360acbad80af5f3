"""Experts whose weights the space does not hold are references all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from toy_worker import Counting

from evomerge.cluster.serial import SerialPool
from evomerge.jobs.steps.score_references import with_references_outside
from evomerge.jobs.steps.scored_once import Measurement
from evomerge.recipes.space import SearchSpace
from evomerge.search.base import Silence
from evomerge.search.loop import run_search
from evomerge.search.store import Store
from evomerge.types import Done, Expert, Objective, Work


class Halving(Counting):
    """A toy worker whose expert a solves half of its items."""

    def evaluate(self, work: Work) -> Done:
        done = super().evaluate(work)
        kept = tuple(replace(i, outcome=i.outcome * (i.task != "a" or int(i.item[2:]) < 100)) for i in done.items)
        return replace(done, items=kept)


def space(low: float, high: float) -> SearchSpace:
    experts = (Expert("a", "experts/a"), Expert("b", "experts/b"))
    return SearchSpace("base", experts, ("core_task_arithmetic", "linear"), weight_range=(low, high))


def measured(store: Store, worker: Counting, searched: SearchSpace) -> Measurement:
    objectives = tuple(Objective(name, expert=name) for name in "ab")
    recipes = searched.references() | dict(searched.anchors())
    return Measurement(SerialPool(worker), store, objectives, recipes, Silence())


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.9), (0.2, 1.5)])
def test_experts_outside_the_range_are_scored_once_and_referred_to(tmp_path, low, high):
    searched, worker, store = space(low, high), Halving(), Store(tmp_path)
    assert not any(label.startswith("expert:") for label, _ in searched.anchors())
    found = with_references_outside(measured(store, worker, searched), searched)
    assert [(o.task, o.reference) for o in found.objectives] == [("a", 0.5), ("b", 1.0)]
    assert len(worker.seen) == 2
    again = with_references_outside(measured(Store(tmp_path), worker, searched), searched)
    assert again.objectives == found.objectives and len(worker.seen) == 2


def test_anchors_are_left_to_the_search(tmp_path):
    searched, worker, store = space(0.0, 1.0), Halving(), Store(tmp_path)
    found = with_references_outside(measured(store, worker, searched), searched)
    assert [o.reference for o in found.objectives] == [None, None] and worker.seen == []
    assert searched.references().items() <= dict(searched.anchors()).items()


def test_the_sampler_is_told_the_references(tmp_path):
    """The number that CMA-ES minimises is of retentions: doubling a task's reference changes it."""
    searched, store = space(0.0, 0.9), Store(tmp_path)
    worker = Halving()
    found = with_references_outside(measured(store, worker, searched), searched)
    trials = run_search(SerialPool(worker), searched, store, found.objectives, 4, "cmaes", ahead=0)
    told = store.study.get_trials()[trials[-1].number].values[0]
    kept = [trials[-1].scores["a"].mean / 0.5, trials[-1].scores["b"].mean]
    assert told == pytest.approx(max(1 - k for k in kept) + 0.05 * sum(1 - k for k in kept))
