"""Execution accuracy: equality of results, and hostile queries."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from evomerge.evaluation.judging.judge import JudgeFailed
from evomerge.evaluation.scorers.sql.database_files import describe
from evomerge.evaluation.scorers.sql.query_text import extract_query

SCRIPT = """CREATE TABLE people (name TEXT, age INTEGER, height REAL);
INSERT INTO people VALUES ('Ada', 36, 1.7), ('Bob', 41, 1.8), ('Cy', 20, 1.6), ('Bob', 50, 1.9);"""


def metrics(judge, gold, answer):
    item = json.dumps({"sql": [gold], "databases": [{"script": SCRIPT}], "compare": "bag"})
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


def test_every_alternative_counts_and_every_instance_must_agree(judge):
    other = SCRIPT.replace("('Cy', 20", "('Cy', 35")
    item = {
        "sql": [NAMES, "SELECT upper(name) FROM people WHERE age > 30"],
        "databases": [{"script": SCRIPT}, {"script": other}],
        "compare": "bag",
    }
    answers = [
        (" SELECT name FROM people WHERE age >= 31", (1, 1)),
        (" SELECT upper(name) FROM people WHERE age >= 31", (1, 1)),
        (" SELECT name FROM people WHERE name <> 'Cy'", (0, 1)),  # right on the first database alone
        (" SELECT name FROM people WHERE age >", (0, 0)),
    ]
    found = judge.judge("sql", [(json.dumps(item), answer) for answer, _ in answers])
    assert [(m["sql_exec"], m["sql_valid"]) for m in found] == [verdict for _, verdict in answers]


def test_a_question_may_need_no_table(judge):
    item = json.dumps({"sql": ["SELECT 2 + 2"], "databases": [{"script": ""}], "compare": "bag"})
    found = judge.judge("sql", [(item, " SELECT 4"), (item, " SELECT 5")])
    assert [m["sql_exec"] for m in found] == [1.0, 0.0]


def test_a_database_file_is_read_and_stays_as_it_is(judge, tmp_path):
    path = tmp_path / "people.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCRIPT)
    before = path.read_bytes()
    item = json.dumps({"sql": [NAMES], "databases": [describe(path)], "compare": "bag"})
    assert [m["sql_exec"] for m in judge.judge("sql", [(item, " " + NAMES), (item, " DELETE FROM people")])] == [1, 0]
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["people.sqlite"]


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        (" SELECT 1", "SELECT 1"),
        ("SELECT 1; and so on", "SELECT 1"),
        ("SELECT ';' AS a; SELECT 2", "SELECT ';' AS a"),
        ("```sql\nSELECT a\nFROM t;\n```\nThis reads t.", "SELECT a\nFROM t"),
        ("```\nSELECT a FROM t", "SELECT a FROM t"),
        ("```python\nprint(1)\n```\n```sql\nSELECT 2\n```", "SELECT 2"),
        ("Sure! Here is the query:\nSELECT a FROM t", "SELECT a FROM t"),
        ("The answer is `SELECT a FROM t`, as asked.", "SELECT a FROM t"),
        ("SQL: select a from t", "select a from t"),
        ("It is:\n\nWITH x AS (SELECT 1) SELECT * FROM x\n\nIt has one row.", "WITH x AS (SELECT 1) SELECT * FROM x"),
        ("SELECT a FROM t\n\nWHERE b = 'x\n\ny'", "SELECT a FROM t\n\nWHERE b = 'x\n\ny'"),
        ("-- the names; all\nSELECT 1", "-- the names; all\nSELECT 1"),
        # A statement that may not run is no prose around a query.
        ("INSERT INTO t\nSELECT a FROM t", "INSERT INTO t\nSELECT a FROM t"),
        ("DROP TABLE t; SELECT 1", "DROP TABLE t"),
        ("SELECT a FROM t\nThis gives a.", "SELECT a FROM t"),
        ("SELECT a\nFROM t\nWHERE b = 1\n- note: a is a name", "SELECT a\nFROM t\nWHERE b = 1"),
        ("SELECT a FROM t\nIn this query we read t.", "SELECT a FROM t"),
        ("SELECT a FROM t\n```\nIt reads t.", "SELECT a FROM t"),
        ("SELECT a,\n\nb FROM t", "SELECT a,\n\nb FROM t"),
        ("SELECT a\nb FROM t", "SELECT a\nb FROM t"),
        ("SELECT a FROM t\nSELECT b FROM t", "SELECT a FROM t"),
        ("SELECT a FROM t\nUNION\nSELECT b FROM t", "SELECT a FROM t\nUNION\nSELECT b FROM t"),
        ("Create a query:\nSELECT a FROM t", "SELECT a FROM t"),
        ("EXPLAIN SELECT a FROM t", "EXPLAIN SELECT a FROM t"),
        # What breaks off is no prose.
        ("SELECT a FROM t\nWHERE b >", "SELECT a FROM t\nWHERE b >"),
        ("Sure, here you go SELECT a FROM t", "SELECT a FROM t"),
        ("I will:\nselect the right columns\n\nSELECT a FROM t", "SELECT a FROM t"),
        ("```sql\nCREATE TABLE t (a)\n```\n```sql\nSELECT a FROM t\n```", "SELECT a FROM t"),
        ("```sql\nDROP TABLE t\n```", "DROP TABLE t"),
        ("I do not know.", "I do not know."),
        ("", ""),
    ],
)
def test_where_the_query_of_an_answer_is(answer, query):
    assert extract_query(answer) == query


def test_looking_for_a_query_changes_nothing():
    """Some pragmas act while they are compiled, for the whole process."""
    assert extract_query("PRAGMA soft_heap_limit = 1234567") == "PRAGMA soft_heap_limit = 1234567"
    with closing(sqlite3.connect(":memory:")) as connection:
        assert connection.execute("PRAGMA soft_heap_limit").fetchone() != (1234567,)
