"""Execution accuracy: which results agree, and hostile queries."""

from __future__ import annotations

import json

import pytest

from evomerge.evaluation import sql
from evomerge.evaluation.judge import JudgeFailed

SCRIPT = """CREATE TABLE people (name TEXT, age INTEGER, height REAL);
INSERT INTO people VALUES ('Ada', 36, 1.7), ('Bob', 41, 1.8), ('Cy', 20, 1.6), ('Bob', 50, 1.9);"""


def metrics(judge, gold, answer):
    item = json.dumps({"sql": gold, "database": {"script": SCRIPT}})
    verdict = judge.judge("sql", [(item, answer)])[0]
    return verdict["sql_exec"], verdict["sql_valid"]


NAMES = "SELECT name FROM people WHERE age > 30"


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        (NAMES, " SELECT name FROM people WHERE age >= 31", True),
        (NAMES, " SELECT name FROM people WHERE age > 30 ORDER BY name DESC;", True),
        (NAMES, " SELECT DISTINCT name FROM people WHERE age > 30", False),
        (NAMES, " SELECT name, age FROM people WHERE age > 30", False),
        (NAMES, "```sql\nSELECT name FROM people WHERE age > 30;\n```", True),
        (NAMES, " SELECT name FROM people WHERE age > 30; DROP TABLE people", True),
        (NAMES, " name FROM people WHERE age > 30", False),
        (NAMES, "", False),
        (NAMES + " ORDER BY age", " SELECT name FROM people WHERE age > 30 ORDER BY age DESC", False),
        (NAMES + " ORDER BY age", " SELECT name FROM people WHERE age > 30 ORDER BY height", True),
        ("SELECT name, age FROM people", " SELECT age, name FROM people", True),
        ("SELECT age, height FROM people", " SELECT height, age FROM people", True),
        ("SELECT COUNT(*) FROM people", " SELECT 4.0", True),
        ("SELECT COUNT(*) FROM people", " SELECT '4'", False),
        ("SELECT AVG(height) FROM people", " SELECT SUM(height) / COUNT(*) + 1e-9 FROM people", True),
        ("SELECT AVG(height) FROM people", " SELECT AVG(height) + 0.001 FROM people", False),
        ("SELECT 10000000", " SELECT 10000001", False),
        ("SELECT name FROM people WHERE 0", " SELECT name FROM people WHERE age > 99", True),
        ("SELECT name FROM people WHERE 0", " SELECT name, age FROM people WHERE age > 99", False),
        ("SELECT NULL", " SELECT 0", False),
    ],
)
def test_which_results_agree(judge, gold, answer, right):
    assert metrics(judge, gold, answer)[0] == right


def test_a_wrong_query_that_runs_is_valid(judge):
    assert metrics(judge, NAMES, " SELECT 1") == (0.0, 1.0)
    assert metrics(judge, NAMES, " SELECT nothing FROM nowhere") == (0.0, 0.0)


HOSTILE = [
    " DROP TABLE people",
    " DELETE FROM people",
    " UPDATE people SET age = 1",
    " INSERT INTO people SELECT * FROM people",
    " ATTACH DATABASE '/tmp/evil.db' AS evil",
    " VACUUM INTO '/tmp/evil.db'",
    " PRAGMA query_only = 0",
    " PRAGMA database_list",
    " SELECT load_extension('/tmp/evil.so')",
    " SELECT length(randomblob(2000000000))",
    " SELECT length(replace(hex(zeroblob(400000)), '00', hex(zeroblob(400000))))",
    " WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c",
    " WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c",
    " SELECT count(*) FROM people a, people b, people c, people d, people e, people f, people g, people h, people i, "
    "people j, people k, people l, people m, people n",
    " SELECT " + "(" * 5000 + "1" + ")" * 5000,
    " SELECT '\0'",
    " SELECT '\ud800'",
]


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda answer: answer[:30].strip())
def test_hostile_queries_do_not_run_and_the_judge_goes_on(judge, answer):
    assert metrics(judge, NAMES, answer) == (0.0, 0.0)
    assert metrics(judge, NAMES, " " + NAMES + f" AND {len(answer)} > 0") == (1.0, 1.0)


def test_a_wrong_gold_query_is_an_error_not_a_verdict(judge):
    with pytest.raises(JudgeFailed, match="no such table: nowhere"):
        metrics(judge, "SELECT 1 FROM nowhere", " SELECT 1")


def test_nearly_equal_numbers_that_sort_differently_agree():
    gold = sql.Result(2, [(1.0, "b"), (1.0 + 1e-9, "a")])
    other = sql.Result(2, [(1.0 + 1e-9, "b"), (1.0, "a")])
    assert sql.same_result(gold, other, ordered=False)
