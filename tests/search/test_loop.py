"""The search loop with every sampler: it finds the compromise, repeats no evaluation, keeps failures, and resumes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from toy_space import ToySpace, objectives
from toy_worker import Counting

from evomerge.cluster.serial import SerialPool
from evomerge.errors import RunFailed, UserError
from evomerge.search.base import Silence
from evomerge.search.begin import begin_run
from evomerge.search.choose import choose, finalists, front, with_references
from evomerge.search.loop import run_search
from evomerge.search.progress import progress
from evomerge.search.samplers import SAMPLERS
from evomerge.search.store import Store
from evomerge.types import Done, Trial, Work

SPACE = ToySpace()


class Notes(Silence):
    """A listener that remembers what a person should see."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def search(folder, space=SPACE, budget=12, worker=None, **settings) -> list[Trial]:
    store = Store(folder)
    settings = {"sampler": "random", "ahead": 0, **settings}
    try:
        return run_search(SerialPool(worker or Counting()), space, store, objectives(space), budget, **settings)
    finally:
        store.close()


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_every_sampler_searches_and_resumes(tmp_path, sampler, names, recwarn, capfd):
    space, worker = ToySpace(names), Counting()
    first = search(tmp_path, space, 8, worker, sampler=sampler)
    assert len(first) == 8
    assert [t.label for t in first[: len(names) + 2]] == [label for label, _ in space.anchors()]
    trials = search(tmp_path, space, 11, worker, sampler=sampler)
    assert trials[:8] == first and len(trials) == 11
    assert len(worker.seen) == len(set(worker.seen)) == 11
    assert all(t.error is None for t in trials)
    assert [w for w in recwarn if "optuna" in str(w.filename)] == []
    assert capfd.readouterr() == ("", "")


def test_an_expert_that_solves_nothing_of_its_own_task_is_named_before_the_budget_is_spent(tmp_path):
    class Unskilled(Counting):
        def evaluate(self, work: Work) -> Done:
            done = super().evaluate(work)
            return replace(done, items=tuple(replace(i, outcome=0.0) if i.task == "b" else i for i in done.items))

    notes = Notes()
    search(tmp_path / "a", worker=Unskilled(), listener=notes, budget=5)
    (said,) = [note for note in notes.said if "solves none" in note]
    assert said.startswith("expert:b solves none of the search items of b, its own task")
    notes = Notes()
    search(tmp_path / "b", listener=notes, budget=5)
    assert not any("solves none" in note for note in notes.said)


def test_the_default_beats_its_anchors(tmp_path):
    space = ToySpace()
    trials = search(tmp_path, space, 18, sampler="gp")
    known = with_references(objectives(space), trials)
    assert [o.reference for o in known] == [1.0, 1.0]
    anchors = progress([t for t in trials if t.label], known)
    whole = progress(trials, known)
    # the optimum of min(1 - (1-w)^2 - 0.3 w^2) is w = 1/1.3, score 0.769; uniform has 0.675
    assert anchors.bests[-1].value == pytest.approx(0.675, abs=0.01)
    assert whole.bests[-1].value > 0.75
    assert whole.hypervolume > anchors.hypervolume


def test_one_seed_one_search(tmp_path):
    runs = [search(tmp_path / name, seed=seed) for name, seed in (("x", 3), ("y", 3), ("z", 4))]
    params = [[t.params for t in run] for run in runs]
    assert params[0] == params[1] != params[2]


def test_duplicates_cost_nothing_and_an_exhausted_space_ends(tmp_path):
    space, worker = ToySpace(step=0.5), Counting()  # 2 methods x 3 x 3 weights
    notes = Notes()
    trials = search(tmp_path, space, 40, worker, listener=notes)
    assert len(trials) == len(worker.seen) == len(set(worker.seen)) == 18
    assert "exhausted" in notes.said[0]
    frozen = Store(tmp_path).study.get_trials()
    duplicates = [t for t in frozen if "duplicate_of" in t.user_attrs]
    assert duplicates
    for duplicate in duplicates:
        assert duplicate.values == frozen[duplicate.user_attrs["duplicate_of"]].values


def test_a_proposal_equal_to_one_in_flight_is_told_its_outcome(tmp_path):
    space, worker = ToySpace(step=0.5, anchored=False), Counting()
    store = Store(tmp_path)
    begin_run(store, space, objectives(space), "random")
    for _ in range(3):
        store.enqueue(space.encode(space.recipe(0.5, 1.0)))
    trials = run_search(SerialPool(worker), space, store, objectives(space), 2, "random", ahead=3)
    assert len(trials) == len(set(worker.seen)) == 2
    told = [t.values for t in store.study.get_trials() if t.params["weight.b"] == 1.0 and t.params["weight.a"] == 0.5]
    assert len(told) >= 3 and all(values == told[0] for values in told) and told[0] is not None


def test_failed_candidates_are_counted_and_kept(tmp_path):
    space = ToySpace(methods=("linear", "raises"))
    trials = search(tmp_path, space, 20)
    failed = [t for t in trials if t.error is not None]
    assert len(trials) == 20 and failed
    assert all(t.recipe.method == "raises" and "poison" in (t.error or "") for t in failed)
    assert progress(trials, objectives(space)).failed == len(failed)


def test_when_everything_fails_the_search_stops(tmp_path):
    for budget, said in ((3, "first 3"), (20, "first 5"), (20, "first 6")):  # a small budget, a larger one, and again
        with pytest.raises(RunFailed, match=f"{said} candidates all failed, the last with 'ValueError: this.*name="):
            search(tmp_path, ToySpace(methods=("raises",)), budget)


def test_an_outcome_that_is_no_number_is_a_failed_candidate(tmp_path):
    class Undefined(Counting):
        def evaluate(self, work: Work) -> Done:
            done = super().evaluate(work)
            if len(self.seen) % 3:
                return done
            return replace(done, items=(*done.items[:-1], replace(done.items[-1], outcome=math.nan)))

    worker = Undefined()
    trials = search(tmp_path, budget=6, worker=worker)
    assert [t.error for t in trials if t.error] == ["the outcome of b item b-199 is nan"] * 2
    assert len(search(tmp_path, budget=8, worker=worker)) == 8


def test_a_budget_that_searches_nothing_says_so(tmp_path):
    notes = Notes()
    search(tmp_path / "small", budget=4, listener=notes)
    assert notes.said == [
        "search.budget=4 is used up by the 4 merges that every search starts from: nothing else will be tried, "
        "choose 5 or more"
    ]
    notes = Notes()
    search(tmp_path / "enough", budget=5, listener=notes)
    assert notes.said == []


def test_what_was_scored_before_is_not_scored_again(tmp_path):
    space, worker = ToySpace(), Counting()
    uniform = space.recipe(0.5, 0.5)
    store = Store(tmp_path)
    begin_run(store, space, objectives(space), "random")
    done = worker.evaluate(Work("k", uniform, "search", ("a", "b")))
    store.record_evaluation(uniform.fingerprint, "search", done)
    store.close()
    trials = search(tmp_path, space, 6, worker)
    assert len(trials) == 6 and len(worker.seen) == len(set(worker.seen)) == 6
    assert next(t for t in trials if t.label == "uniform").items == done.items


def test_an_interrupt_keeps_what_is_finished(tmp_path):
    class Interrupted(Counting):
        def evaluate(self, work: Work) -> Done:
            if len(self.seen) == 7:
                raise KeyboardInterrupt
            return super().evaluate(work)

    worker = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, worker=worker, ahead=2)
    assert len(Store(tmp_path).trials()) == 7
    after = Counting()
    trials = search(tmp_path, worker=after)
    assert len(trials) == 12 and len(set(worker.seen + after.seen)) == len(worker.seen + after.seen) == 12


def test_other_tasks_or_space_need_another_folder(tmp_path):
    search(tmp_path, budget=2)
    with pytest.raises(UserError, match="other parameters"):
        search(tmp_path, ToySpace(step=0.01))
    with pytest.raises(UserError, match=r"other (tasks|experts|parameters)"):
        search(tmp_path, ToySpace(("a", "b", "c")))
    with pytest.raises(UserError, match="other objective"):
        search(tmp_path, sampler="cmaes")
    with pytest.raises(UserError, match=r"unknown sampler 'gpp': did you mean 'gp'\?"):
        search(tmp_path, sampler="gpp")
    with pytest.raises(UserError, match=r"search\.budget must be at least 1"):
        search(tmp_path, budget=0)
    assert len(search(tmp_path, budget=3, sampler="tpe")) == 3


def test_the_winner_has_the_best_worst_task(tmp_path):
    space = ToySpace()
    trials = search(tmp_path, space, 20)
    known = with_references(objectives(space), trials)
    winner = trials[choose([t.scores for t in trials], known)]
    smallest = {t.number: min(t.scores["a"].mean, t.scores["b"].mean) for t in trials}
    assert smallest[winner.number] == max(smallest.values())
    assert winner in front(trials, known)
    best = finalists(trials, known, 4)
    assert [smallest[t.number] for t in best] == sorted(smallest.values(), reverse=True)[:4]
    assert winner == best[0]
