"""A candidate that racing stopped is counted and marked, and compared with no other."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from fabricate import space

from evomerge import Run
from evomerge.report.page_json import payload
from evomerge.report.run_data import RunData
from evomerge.search.store import Store
from evomerge.search.tables import trials_table
from evomerge.types import Candidate, Done, ItemScore


@pytest.fixture
def raced(finished: Path, tmp_path: Path) -> Path:
    """The finished run, and a candidate more that solved the few items it was asked and was stopped."""
    folder = Path(shutil.copytree(finished, tmp_path / "raced"))
    store, own = Store(folder), space()
    store.begin({}, directions=3)
    params = {p.name: 0.123 if p.name.startswith("weight.") else p.default for p in own.parameters}
    store.enqueue(params)
    asked = store.ask(store.study.sampler, {})
    items = tuple(ItemScore(task, f"{task}_{n:03d}", 1.0) for task in ("sql", "code", "json") for n in range(6))
    store.record(Candidate(asked.number, own.decode(params), params), Done("x", items, 1.0), stopped=True)
    store.close()
    return folder


def test_front_winner_and_retention_are_of_whole_trials(finished: Path, raced: Path) -> None:
    before, after = RunData(finished), RunData(raced)
    stopped = after.stopped[0]
    assert len(after.records) == len(before.records) + 1 and len(after.stopped) == 1
    assert [t.number for t in after.front_trials] == [t.number for t in before.front_trials]
    assert after.winner == before.winner and stopped not in after.scored and stopped not in after.failures
    assert math.isnan(after.min_retention(stopped))


def test_tables_mark_it(raced: Path) -> None:
    trials = Run(raced).trials
    own = trials[trials["stopped"]]
    assert len(own) == 1 and own["min_retention"].isna().all() and not own["on_front"].any()
    table = trials_table(Store(raced).trials())
    assert table[table["stopped"]]["score.sql.items"].tolist() == [6] and table["stopped"].sum() == 1


def test_the_page_counts_it(raced: Path) -> None:
    data = payload(RunData(raced))
    assert any("1 stopped early" in fact["words"] for fact in data["facts"])
    assert ["of these stopped early, surely behind", "1"] in data["work"]
    assert len(data["points"]) == len(RunData(raced).scored)
