"""The data of the SQL task: every gold query runs; splits and training examples have nothing in common."""

from __future__ import annotations

import importlib
import json
import re
import sqlite3
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TASK = ROOT / "tasks" / "sql"
SPLITS = ("validation", "test")
# A clause up to the next one or the end, stepping over parentheses (a subquery, COUNT(*) in HAVING).
FILTER = re.compile(r" (WHERE|HAVING) (?:[^()]|\([^()]*(?:\([^()]*\))?[^()]*\))*?(?= GROUP BY| ORDER BY|$)")


def load(split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (TASK / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def connect(script: str) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(script)
    return connection


def tables(items: list[dict[str, Any]]) -> set[str]:
    return {name for item in items for name in re.findall(r"CREATE TABLE (\w+)", item["schema"])}


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    # experts/ holds scripts, not a package; train.py finds its neighbours the same way.
    monkeypatch.syspath_prepend(str(ROOT / "experts"))
    return importlib.import_module("examples_sql")


@pytest.mark.parametrize("split", SPLITS)
def test_counts_and_keys(split: str) -> None:
    items = load(split)
    assert len(items) == 200
    assert len({item["id"] for item in items}) == 200
    assert len({(item["schema"], item["question"]) for item in items}) == 200
    keys = {"id", "domain", "level", "question", "schema", "sql", "database"}
    assert all(set(item) == keys for item in items)
    levels = Counter(item["level"] for item in items)
    assert set(levels) == {"easy", "medium", "hard"}
    assert 80 <= levels["easy"] <= 100 and 60 <= levels["medium"] <= 80 and 30 <= levels["hard"] <= 50


@pytest.mark.parametrize("split", SPLITS)
def test_every_gold_runs_and_finds_something(split: str) -> None:
    for item in load(split):
        connection = connect((TASK / item["database"]).read_text(encoding="utf-8"))
        rows = connection.execute(item["sql"]).fetchall()
        connection.close()
        # A gold result of nothing, NULL or 0 would be met by many a wrong query.
        assert rows and rows not in ([(None,)], [(0,)]), item["id"]


@pytest.mark.parametrize("split", SPLITS)
def test_no_filter_is_idle(split: str) -> None:
    """Without its WHERE or HAVING a gold query gives another result: leaving it out is wrong."""
    for item in load(split):
        cut = FILTER.sub("", item["sql"])
        if cut == item["sql"]:
            continue
        connection = connect((TASK / item["database"]).read_text(encoding="utf-8"))
        assert connection.execute(cut).fetchall() != connection.execute(item["sql"]).fetchall(), item["id"]
        connection.close()


@pytest.mark.parametrize("split", SPLITS)
def test_a_limit_never_cuts_a_tie(split: str) -> None:
    """Inserting the rows in reverse changes no result of ORDER BY ... LIMIT: the answer is unique."""
    checked = 0
    for item in load(split):
        if " LIMIT " not in item["sql"]:
            continue
        lines = (TASK / item["database"]).read_text(encoding="utf-8").splitlines()
        creates = [line for line in lines if line.startswith("CREATE")]
        inserts = [line for line in lines if line.startswith("INSERT")]
        forward = connect("\n".join(creates + inserts)).execute(item["sql"]).fetchall()
        backward = connect("\n".join(creates + inserts[::-1])).execute(item["sql"]).fetchall()
        assert forward == backward, item["id"]
        checked += 1
    assert checked > 20


@pytest.mark.parametrize("split", SPLITS)
def test_prompt_shows_the_database(split: str) -> None:
    """The shown schema creates exactly the database's tables; each has 7 to 20 rows."""
    for item in {item["domain"]: item for item in load(split)}.values():
        shown = connect(item["schema"].replace("\n", ";\n"))
        real = connect((TASK / item["database"]).read_text(encoding="utf-8"))
        listing = "SELECT name, sql FROM sqlite_master ORDER BY name"
        assert shown.execute(listing).fetchall() == real.execute(listing).fetchall()
        for (name,) in real.execute("SELECT name FROM sqlite_master").fetchall():
            assert 7 <= real.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] <= 20, (
                item["domain"],
                name,
            )


@pytest.mark.parametrize("split", SPLITS)
def test_items_are_short_and_grouped(split: str) -> None:
    items = load(split)
    for item in items:
        prompt = f"{item['schema']}\n\nQuestion: {item['question']}\nSQL:"
        # About 3.5 characters a token: at most some 90 tokens of prompt and 50 of answer.
        assert len(prompt) <= 320, item["id"]
        assert len(item["sql"]) <= 200 and ";" not in item["sql"] and "\n" not in item["sql"], item["id"]
    order = [item["domain"] for item in items]
    assert order == sorted(order, key=order.index), "items of a domain lie together"


def test_splits_and_training_share_nothing(training: ModuleType) -> None:
    validation, test = load("validation"), load("test")
    domains = [
        {item["domain"] for item in validation},
        {item["domain"] for item in test},
        training.domain_names(),
    ]
    names = [tables(validation), tables(test), training.table_names()]
    for sets in (domains, names):
        assert not sets[0] & sets[1] and not sets[0] & sets[2] and not sets[1] & sets[2]
    assert len(domains[0]) >= 6 and len(domains[1]) >= 6 and len(domains[0] | domains[1]) >= 12
    assert len(domains[2]) >= 15
    assert {path.stem for path in (TASK / "databases").glob("*.sql")} == domains[0] | domains[1]


def test_training_examples_are_deterministic_and_run(training: ModuleType) -> None:
    examples = training.examples(seed=0, count=1500)
    assert examples == training.examples(seed=0, count=1500)
    assert examples != training.examples(seed=1, count=1500)
    assert len({example["prompt"] for example in examples}) == 1500
    for example in examples:
        schema, question = example["prompt"].split("\n\nQuestion: ")
        assert question.endswith("\nSQL:")
        assert example["completion"].startswith(" SELECT ")
        connect(schema.replace("\n", ";\n")).execute(example["completion"])
