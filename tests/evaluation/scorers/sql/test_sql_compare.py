"""Verdicts of each comparison mode on a table of query pairs."""

from __future__ import annotations

import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from itertools import permutations

import pytest

from evomerge.evaluation.scorers.sql.compare_rows import COMPARISONS, Result, bag
from evomerge.evaluation.scorers.sql.queries import Judging, judge, run_query

SCRIPT = """
CREATE TABLE singer (id INTEGER PRIMARY KEY, name TEXT, country TEXT, age INTEGER, fee REAL);
INSERT INTO singer VALUES (1, 'Ann', 'France', 52, 10.5), (2, 'Bob', 'Chile', 32, 20.0), (3, 'Cy', 'France', 29, NULL),
  (4, 'Di', 'Chile', 41, 10.5), (5, 'Ed', 'Peru', 29, 3.0);
CREATE TABLE song (title TEXT, singer INTEGER, year INTEGER, sales REAL);
INSERT INTO song VALUES ('Up', 1, 2001, 1.5), ('Down', 1, 2003, 2.5), ('Left', 2, 2003, 4.0), ('Right', 4, 2010, 4.0);
CREATE TABLE empty (a INTEGER, b TEXT);
"""
NAMES = "SELECT name FROM singer WHERE age > 30"
PAIRS_OF = "SELECT name, country FROM singer"
COUNTRIES = "SELECT country FROM singer"
OLDEST = "SELECT name FROM singer ORDER BY age DESC"

# gold, answer, and the verdicts of bag, strict, spider, bird.
TABLE = [
    # Rows
    (NAMES, NAMES, "1111"),
    (NAMES, "SELECT name FROM singer WHERE age >= 32", "1111"),
    (NAMES, "SELECT name FROM singer WHERE age > 40", "0000"),
    (NAMES, NAMES + " ORDER BY name DESC", "1111"),
    (NAMES, "SELECT 1", "0000"),
    (NAMES, "SELECT nothing FROM singer", "0000"),
    (NAMES, "", "0000"),
    (NAMES, NAMES + " LIMIT 2", "0000"),
    # Repeated rows: a multiset, a set, or (DISTINCT left out of both) whatever DISTINCT would have done
    (COUNTRIES, "SELECT DISTINCT country FROM singer", "0011"),
    ("SELECT DISTINCT country FROM singer", COUNTRIES, "0011"),
    (COUNTRIES, "SELECT country FROM singer GROUP BY country", "0001"),
    (COUNTRIES, COUNTRIES + " UNION ALL SELECT 'Peru'", "0001"),
    (
        COUNTRIES,
        "SELECT 'France' UNION ALL SELECT 'France' UNION ALL SELECT 'France' UNION ALL SELECT 'Chile' "
        "UNION ALL SELECT 'Peru'",
        "0001",
    ),
    ("SELECT count(DISTINCT country) FROM singer", "SELECT count(country) FROM singer", "0010"),
    ("SELECT count(DISTINCT country) FROM singer", "SELECT 3", "1101"),
    ("SELECT 'distinct'", "SELECT 'distinct' || ''", "1111"),
    # Order of rows
    (OLDEST, OLDEST, "1111"),
    (OLDEST, "SELECT name FROM singer ORDER BY age", "0001"),
    (OLDEST, "SELECT name FROM singer", "0001"),
    (OLDEST + ", name", "SELECT name FROM singer ORDER BY -age, name", "1111"),
    ("SELECT name FROM singer ORDER  BY age DESC, name", "SELECT name FROM singer ORDER BY age", "0011"),
    ("SELECT name FROM (SELECT name FROM singer ORDER BY age)", "SELECT name FROM singer ORDER BY name DESC", "1101"),
    (
        "SELECT name FROM singer WHERE id IN (SELECT id FROM singer ORDER BY age LIMIT 2)",
        "SELECT name FROM singer WHERE age = 29 ORDER BY name DESC",
        "1101",
    ),
    (
        "SELECT name, 'order by' FROM singer WHERE age = 29",
        "SELECT name, 'order by' FROM singer WHERE age = 29 ORDER BY 1 DESC",
        "1101",
    ),
    (
        "SELECT name FROM singer ORDER BY age DESC LIMIT 1",
        "SELECT name FROM singer WHERE age = (SELECT max(age) FROM singer)",
        "1111",
    ),
    # Columns
    (PAIRS_OF, "SELECT country, name FROM singer", "1010"),
    (PAIRS_OF, "SELECT name FROM singer", "0000"),
    (PAIRS_OF, "SELECT name, country, age FROM singer", "0000"),
    (PAIRS_OF, "SELECT name, name FROM singer", "0000"),
    (PAIRS_OF + " ORDER BY id", "SELECT country, name FROM singer ORDER BY id", "1010"),
    (PAIRS_OF + " ORDER BY id", "SELECT country, name FROM singer ORDER BY id DESC", "0000"),
    ("SELECT id, age, name, country FROM singer", "SELECT country, name, id, age FROM singer", "1010"),
    ("SELECT age, age, id FROM singer", "SELECT age, id, age FROM singer", "1010"),
    ("SELECT age, age, id FROM singer", "SELECT id, id, age FROM singer", "0000"),
    # The same values in each column, differently paired
    ("SELECT 1, 2 UNION ALL SELECT 2, 1", "SELECT 1, 1 UNION ALL SELECT 2, 2", "0000"),
    ("SELECT 1, 2 UNION ALL SELECT 3, 4", "SELECT 2, 1 UNION ALL SELECT 3, 4", "0000"),
    # Numbers
    ("SELECT count(*) FROM singer", "SELECT 5.0", "1011"),
    ("SELECT count(*) FROM singer", "SELECT '5'", "0000"),
    ("SELECT 0.1 + 0.2", "SELECT 0.3", "1000"),
    ("SELECT avg(sales) FROM song", "SELECT avg(sales) + 1e-8 FROM song", "1000"),
    ("SELECT avg(sales) FROM song", "SELECT avg(sales) + 0.001 FROM song", "0000"),
    ("SELECT avg(sales) FROM song", "SELECT round(avg(sales)) FROM song", "1111"),
    ("SELECT 10000000", "SELECT 10000001", "0000"),
    ("SELECT 10000000", "SELECT 10000001.0", "1000"),
    (
        "SELECT fee FROM singer",
        "SELECT cast(fee AS INTEGER) FROM singer WHERE fee IS NOT NULL UNION ALL SELECT NULL",
        "0000",
    ),
    # NULL, text, blobs
    ("SELECT NULL", "SELECT NULL", "1111"),
    ("SELECT NULL", "SELECT 0", "0000"),
    ("SELECT NULL", "SELECT ''", "0000"),
    ("SELECT name FROM singer", "SELECT upper(name) FROM singer", "0000"),
    ("SELECT 'a'", "SELECT 'a '", "0000"),
    ("SELECT x'61'", "SELECT 'a'", "0000"),
    # Nothing
    ("SELECT a FROM empty", "SELECT name FROM singer WHERE age > 99", "1111"),
    ("SELECT a FROM empty", "SELECT a, b FROM empty", "0011"),
    ("SELECT a FROM empty", "SELECT NULL", "0000"),
    ("SELECT a FROM empty", "SELECT a FROM nowhere", "0000"),
    # How queries are written
    (NAMES, "SELECT name FROM singer WHERE age > = 32", "0010"),
    (NAMES, "SELECT name FROM singer WHERE age ! = 29", "0010"),
    ("SELECT 2020", "SELECT YEAR(CURDATE())", "0010"),
    (NAMES, "select T1.name from singer as T1 where not T1.age <= 30", "1111"),
    (
        "SELECT T1.title FROM song T1 JOIN singer T2 ON T1.singer = T2.id WHERE T2.name = 'Ann'",
        "SELECT title FROM song WHERE singer IN (SELECT id FROM singer WHERE name = 'Ann')",
        "1111",
    ),
]


@pytest.mark.parametrize(("gold", "answer", "verdicts"), TABLE, ids=[f"{g[:40]} / {a[:40]}" for g, a, _ in TABLE])
def test_verdict_of_each_mode(gold, answer, verdicts):
    judging = Judging({})
    found = ""
    for compare in ("bag", "strict", "spider", "bird"):
        prepared = judging.prepare({"sql": [gold], "databases": [{"script": SCRIPT}], "compare": compare}, 5.0)
        found += str(int(judge(prepared, answer)["sql_exec"]))
    assert found == verdicts


def rows_of(query):
    """What a peer's checker gets: it runs the whole text; None if that fails."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCRIPT)
        try:
            return connection.execute(query).fetchall()
        except (sqlite3.Error, sqlite3.Warning):
            return None


def bird_checker(gold, answer):
    """BIRD's execution accuracy, which is one line."""
    gold, answer = rows_of(gold), rows_of(answer)
    return answer is not None and set(gold) == set(answer)


def spider_checker(gold, answer):
    """The test-suite evaluation's definition (arXiv:2010.02840): no DISTINCT, in some order of the answer's columns."""
    ordered = "order by" in gold.lower()
    for torn in ("> =", "! ="):
        answer = answer.replace(torn, torn.replace(" ", ""))
    answer = re.sub(r"YEAR\(CURDATE\(\)\)", "2020", answer)
    gold, answer = (
        rows_of(re.sub(r"('[^']*')|\bdistinct\b", r"\1", query, flags=re.IGNORECASE)) for query in (gold, answer)
    )
    if answer is None or len(gold) != len(answer):
        return False
    if not gold:
        return True
    form = list if ordered else Counter
    width = len(answer[0])
    orders = permutations(range(width)) if width == len(gold[0]) else []
    return any(form(gold) == form(tuple(row[place] for place in order) for row in answer) for order in orders)


@pytest.mark.parametrize(("gold", "answer", "verdicts"), TABLE, ids=[f"{g[:40]} / {a[:40]}" for g, a, _ in TABLE])
def test_the_verdicts_are_the_peers_own(gold, answer, verdicts):
    """The table's columns for `spider` and `bird` come from their definitions, written out plainly and run here."""
    assert verdicts[2:] == f"{int(spider_checker(gold, answer))}{int(bird_checker(gold, answer))}"


def test_the_table_is_large_and_every_mode_differs_from_every_other():
    assert len(TABLE) >= 40
    columns = list(zip(*(verdicts for _, _, verdicts in TABLE), strict=True))
    assert len(set(columns)) == len(COMPARISONS)


def test_many_equal_columns_do_not_make_the_search_long():
    width = 40
    gold = Result(width, [(1,) * (width - 1) + (n,) for n in range(50)])
    other = Result(width, [(n,) + (1,) * (width - 1) for n in range(50)])
    assert bag(gold, other, ordered=False)
    wrong = Result(width, [*other.rows[:-1], (1,) * (width - 1) + (7,)])
    assert not bag(gold, wrong, ordered=False)


def test_nearly_equal_numbers_that_sort_differently_agree():
    gold = Result(2, [(1.0, "b"), (1.0 + 1e-9, "a")])
    other = Result(2, [(1.0 + 1e-9, "b"), (1.0, "a")])
    assert bag(gold, other, ordered=False)


def test_text_that_is_no_utf_8():
    """Spider's evaluation drops what it cannot decode; the others tell different bytes apart."""
    item = {"sql": ["SELECT cast(x'6180' AS TEXT)"], "databases": [{"script": "CREATE TABLE t (a)"}]}
    answers = ["SELECT cast(x'6180' AS TEXT)", "SELECT cast(x'6181' AS TEXT)"]
    for compare, verdicts in (("bag", [1, 0]), ("bird", [1, 0]), ("spider", [1, 1])):
        prepared = Judging({}).prepare(item | {"compare": compare}, 5.0)
        assert [judge(prepared, answer)["sql_exec"] for answer in answers] == verdicts


def test_a_result_is_bounded():
    many = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT {}) SELECT {} FROM c"
    prepared = Judging({}).prepare(
        {"sql": ["SELECT 1"], "databases": [{"script": "CREATE TABLE t (a)"}], "compare": "bag"}, 30.0
    )
    assert judge(prepared, many.format(90_000, "x")) == {"sql_exec": 0.0, "sql_valid": 1.0}
    assert judge(prepared, many.format(110_000, "x")) == {"sql_exec": 0.0, "sql_valid": 0.0}
    assert judge(prepared, many.format(300, "hex(zeroblob(300000))")) == {"sql_exec": 0.0, "sql_valid": 0.0}
    assert run_query(prepared.databases[0], "SELECT 1", 5.0) == Result(1, [(1,)])


def test_results_of_any_size_are_compared_exactly():
    """Rows that are nearly equal and sort differently, columns in another order, one wrong cell among many."""
    numbers = [1.0 + n * 5e-10 for n in range(1500)]
    gold = Result(3, [(x, f"n{n}", 10_000_000 + n) for n, x in enumerate(numbers)])
    other = Result(3, [(10_000_000 + n, numbers[7 * n % 1500], f"n{n}") for n in range(1500)][::-1])
    assert bag(gold, other, ordered=False)
    assert not bag(gold, other, ordered=True)
    assert bag(gold, Result(3, other.rows[::-1]), ordered=True)
    for wrong in ((10_000_001, 1.0, "n0"), (10_000_000, 1.00001, "n0"), (10_000_000, 1.0, "n1")):
        assert not bag(gold, Result(3, [*other.rows[:-1], wrong]), ordered=False)


def test_integers_are_close_to_floats_but_not_to_each_other():
    gold = Result(1, [(10_000_000,), (10_000_001,), (10_000_002,)])
    assert bag(gold, Result(1, [(10_000_001.5,), (10_000_000.0,), (10_000_003.0,)]), ordered=False)
    assert not bag(gold, Result(1, [(10_000_000,), (10_000_001,), (10_000_003,)]), ordered=False)
    assert not bag(gold, Result(1, [(10_000_000.0,), (10_000_001,), (10_000_003,)]), ordered=False)


def test_a_large_result_with_columns_in_another_order_is_right_in_the_judge(judge):
    """The time that comparing takes is not the answer's."""
    rows = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 20000) SELECT {} FROM c"
    columns = [f"(x * {n}) % 7 AS c{n}" for n in range(1, 7)] + ["x * {}", "x % 1000 || 'a'"]
    item = {"sql": [rows.format(", ".join(columns)).format(0.1)], "databases": [{"script": ""}], "compare": "bag"}
    answers = [rows.format(", ".join(columns[::-1])).format(x) + " ORDER BY -x" for x in (0.1 + 1e-9, 0.1 + 1e-3)]
    verdicts = judge.judge("sql", [(json.dumps(item), answer) for answer in answers])
    assert verdicts == [{"sql_exec": 1.0, "sql_valid": 1.0}, {"sql_exec": 0.0, "sql_valid": 1.0}]
