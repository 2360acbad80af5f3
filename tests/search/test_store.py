"""The store survives reopening, half-written lines and a killed writer, and refuses another search's folder."""

from __future__ import annotations

import pandas as pd
import pytest
from toy_space import ToySpace

from evomerge.errors import UserError
from evomerge.search.distributions import distributions, on_grid
from evomerge.search.samplers import SAMPLERS, SamplerSetup
from evomerge.search.samplers.base import NoOptions
from evomerge.search.store import Proposal, Store
from evomerge.search.tables import write_tables
from evomerge.types import Candidate, Done, ItemScore

SPACE = ToySpace()
IDENTITY = {"tasks": ["a", "b"], "base": "base"}
ITEMS = (
    ItemScore("a", "a-0", 1.0, "SELECT 'é\n\u2028'", {"valid": 1.0}),
    ItemScore("a", "a-1", 0.0, "", {"valid": 0.0}),
    ItemScore("b", "b-0", 0.5, "{}", {}),
)


def begun(folder) -> Store:
    store = Store(folder)
    store.begin(IDENTITY, 2)
    return store


def ask(store: Store) -> Candidate:
    searched, turn = distributions(SPACE.parameters), store.proposals()
    sampler = SAMPLERS["random"].build(SamplerSetup(0, turn, turn, 0, 2, searched), NoOptions())
    candidate = candidate_of(store.ask(sampler, searched))
    store.accept(candidate)
    return candidate


def candidate_of(proposal: Proposal) -> Candidate:
    params = on_grid(SPACE.parameters, proposal.params)
    return Candidate(proposal.number, SPACE.decode(params), params, proposal.label)


def test_a_trial_comes_back_whole(tmp_path):
    store = begun(tmp_path)
    store.enqueue(SPACE.encode(SPACE.recipe(0.25, 0.75)), "mine")
    candidate = ask(store)
    trial = store.record(candidate, Done("k", ITEMS, 1.25, "toy"))
    store.tell(trial.number, [0.5, 0.5])
    store.close()
    (again,) = Store(tmp_path).trials()
    assert again == trial
    assert again.items == ITEMS and again.label == "mine" and again.isolation == "toy" and again.seconds == 1.25
    assert again.recipe.fingerprint == candidate.recipe.fingerprint == SPACE.recipe(0.25, 0.75).fingerprint


def test_failed_trials_are_kept_with_their_reason(tmp_path):
    store = begun(tmp_path)
    trial = store.record(ask(store), Done("k", (), 2.0, error="worker died"))
    store.tell(trial.number, None)
    assert [t.error for t in Store(tmp_path).trials()] == ["worker died"]


def test_reading_changes_nothing(tmp_path):
    assert Store(tmp_path / "none").trials() == []
    assert not (tmp_path / "none").exists()
    store = begun(tmp_path)
    ask(store)
    before = (tmp_path / "study.journal").read_bytes()
    assert Store(tmp_path).trials() == []
    assert (tmp_path / "study.journal").read_bytes() == before


def test_what_a_killed_writer_left_is_there_again(tmp_path):
    store = begun(tmp_path)
    store.enqueue(SPACE.encode(SPACE.recipe(1.0, 0.0)), "expert:a")
    lost = [ask(store), ask(store)]
    recorded = store.record(ask(store), Done("k", ITEMS, 1.0))  # durable, but never told
    store.close()

    store = begun(tmp_path)
    assert [t.number for t in store.untold()] == [recorded.number]
    store.tell(recorded.number, [0.5, 0.5])
    assert store.untold() == [] and store.trials() == [recorded]
    assert [candidate_of(proposal) for proposal in store.unfinished()] == lost
    assert [candidate.label for candidate in lost] == ["expert:a", None]
    assert store.labels() == {"expert:a"} and store.proposals() == 3 and store.repeats() == 0
    store.abandon(lost[0].number)
    assert [candidate_of(proposal) for proposal in store.unfinished()] == lost[1:]
    assert store.labels() == set() and store.proposals() == 2


def test_half_a_line_at_the_end_is_repaired(tmp_path):
    store = begun(tmp_path)
    trial = store.record(ask(store), Done("k", ITEMS, 1.0))
    store.tell(trial.number, [0.5, 0.5])
    store.record_evaluation("f", "test", Done("k", ITEMS, 1.0))
    store.close()
    for name in ("study.journal", "evaluations.jsonl"):
        with open(tmp_path / name, "ab") as file:
            file.write(b'{"half": "li')
    (tmp_path / "study.journal.lock").symlink_to(tmp_path / "study.journal")

    store = begun(tmp_path)
    second = store.record(ask(store), Done("k", ITEMS, 1.0))
    store.record_evaluation("g", "test", Done("k", ITEMS, 1.0))
    store.close()
    store = Store(tmp_path)
    assert store.trials() == [trial, second]
    assert store.evaluation("f", "test", ("a", "b")) == store.evaluation("g", "test", ("a", "b")) == ITEMS


def test_evaluations_are_found_per_task(tmp_path):
    store = begun(tmp_path)
    store.record_evaluation("f", "selection", Done("k", ITEMS[:2], 2.0, "toy"))
    assert store.evaluation("f", "selection", ("a", "b")) is None
    store.record_evaluation("f", "selection", Done("k", ITEMS[2:], 3.0, "toy"))
    store.record_evaluation("f", "test", Done("k", (), 3.0, error="boom"))
    for known in (store, Store(tmp_path)):
        assert known.evaluation("f", "selection", ("b", "a")) == (ITEMS[2], *ITEMS[:2])
        done = known.evaluated("f", "selection", ("a", "b"))
        assert done is not None and done.seconds == 5.0 and done.isolation == "toy"
        assert known.evaluation("f", "test", ("a",)) is None
        assert known.evaluation("g", "selection", ("a",)) is None


def test_failed_evaluations_are_known_until_one_succeeds(tmp_path):
    store = begun(tmp_path)
    store.record_evaluation("f", "test", Done("k", (), 3.0, error="stopped"), "a")
    for known in (store, Store(tmp_path)):
        assert known.failure("f", "test", "a") == "stopped" and known.evaluation("f", "test", ("a",)) is None
        assert known.failure("f", "test", "b") is None and known.failure("f", "selection", "a") is None
    store.record_evaluation("f", "test", Done("k", ITEMS[:2], 3.0), "a")
    for known in (store, Store(tmp_path)):
        assert known.failure("f", "test", "a") is None and known.evaluation("f", "test", ("a",)) == ITEMS[:2]


def test_another_search_is_refused_with_the_cure(tmp_path):
    begun(tmp_path).close()
    with pytest.raises(UserError, match=r'other tasks \(\["c"\] is new\).*name=.*delete'):
        Store(tmp_path).begin({**IDENTITY, "tasks": ["a", "b", "c"]}, 3)
    with pytest.raises(UserError, match=r'other base .*there "base", now "big"'):
        Store(tmp_path).begin({**IDENTITY, "base": "big"}, 2)
    for more in ({"data": "new keys may join", "tasks.a": {"limit": 3}}, {"tasks.a": {"limit": 3, "style": "chat"}}):
        store = begun(tmp_path)
        store.begin(more, 2)
        store.close()
    with pytest.raises(UserError, match=r"other tasks\.a\.limit \(there 3, now 4\)"):
        Store(tmp_path).begin({"tasks.a": {"limit": 4, "style": "chat"}}, 2)
    with pytest.raises(UserError, match=r'other tasks\.a\.style \(there "chat", now null\)'):
        Store(tmp_path).begin({"tasks.a": {"style": None}}, 2)


def test_a_folder_that_lacks_a_key_is_refused_if_earlier_versions_did_otherwise(tmp_path):
    begun(tmp_path).close()
    now, before = {**IDENTITY, "items of a": "halves of a shuffle"}, {"items of a": "every second item"}
    with pytest.raises(UserError, match=r'other items of a \(there "every second item", now "halves of a shuffle"\)'):
        Store(tmp_path).begin(now, 2, before)
    new = Store(tmp_path / "new")
    new.begin(now, 2, before)
    assert new.identity["items of a"] == "halves of a shuffle"


def test_one_writer_at_a_time(tmp_path):
    store = begun(tmp_path)
    with pytest.raises(UserError, match="in use by another running evomerge"):
        begun(tmp_path)
    store.close()
    begun(tmp_path)


def test_tables(tmp_path):
    store = begun(tmp_path)
    first, second = ask(store), ask(store)
    store.record(first, Done("k", ITEMS, 1.0, "toy"))
    store.record(second, Done("k", (), 1.0, error="boom"))
    write_tables(tmp_path)
    trials, items = pd.read_parquet(tmp_path / "trials.parquet"), pd.read_parquet(tmp_path / "items.parquet")
    assert trials["score.a"][0] == 0.5 and trials["error"][1] == "boom" and trials["score.a.items"][0] == 2
    assert trials["param.weight.a"][0] == first.params["weight.a"]
    assert items["answer"].tolist() == [i.answer for i in ITEMS] and items["metric.valid"][0] == 1.0
    assert sorted(p.name for p in tmp_path.iterdir() if "parquet" in p.name) == ["items.parquet", "trials.parquet"]
