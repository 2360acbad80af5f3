"""WikiSQL files: hand-made tables and queries in their layout, with the results of WikiSQL's scoring."""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing

import pytest

from evomerge.errors import UserError
from evomerge.evaluation.data import SPLITS, cut, read_documents
from evomerge.evaluation.scorers.sql import SQL
from evomerge.evaluation.scorers.sql.queries import Judging

TABLES = [
    {
        "id": "1-77-2",
        "header": ["Order", 'Boat\'s "name"', "Crew", "crew", "", "Length (m)"],
        "types": ["real", "text", "text", "real", "text", "real"],
        "rows": [
            [1, "Möwe", "Ann", "1,200", "x", 7.5],
            [2, "ÖRE", "BOB", 900, "", 9],
            [3, "Sea 'Fox'", "bob", "n/a", "1999", 12.25],
            [4, "Zoë", None, 40, "y", "about 5"],
        ],
    },
    {"id": "2-5-1", "header": ["City", "People"], "types": ["text", "real"], "rows": []},
]
# sel, agg, conds; the gold's text; what WikiSQL's engine gives.
QUERIES = [
    ([2, 0, []], "SELECT Crew FROM table_1_77_2"),
    ([1, 0, [[0, 1, 2]]], 'SELECT "Boat\'s ""name""" FROM table_1_77_2 WHERE "Order" > 2'),
    ([0, 3, [[2, 0, "Bob"]]], "SELECT COUNT(\"Order\") FROM table_1_77_2 WHERE Crew = 'BOB'"),
    ([0, 4, [[1, 0, "öre"]]], 'SELECT SUM("Order") FROM table_1_77_2 WHERE "Boat\'s ""name""" = \'ÖRE\''),
    ([5, 1, [[3, 2, "1,000"]]], 'SELECT MAX("Length (m)") FROM table_1_77_2 WHERE "crew 2" < 1000'),
    ([0, 0, [[5, 0, "7.5 metres"]]], 'SELECT "Order" FROM table_1_77_2 WHERE "Length (m)" = 7.5'),
    ([2, 2, [[0, 2, 4]]], 'SELECT MIN(Crew) FROM table_1_77_2 WHERE "Order" < 4'),
    ([3, 5, [[0, 1, 1], [5, 2, 10]]], 'SELECT AVG("crew 2") FROM table_1_77_2 WHERE "Order" > 1 AND "Length (m)" < 10'),
    ([0, 0, [[4, 0, 1999]]], 'SELECT "Order" FROM table_1_77_2 WHERE "column 5" = \'1999\''),
    (
        [0, 0, [[1, 0, "sea 'fox'"]]],
        'SELECT "Order" FROM table_1_77_2 WHERE "Boat\'s ""name""" = \'Sea \'\'Fox\'\'\'',
    ),
]


def write(folder, queries=QUERIES, name="dev", table="1-77-2"):
    rows = [
        {
            "phase": 1,
            "table_id": table,
            "question": f"q{n}",
            "sql": dict(zip(("sel", "agg", "conds"), query, strict=True)),
        }
        for n, (query, _) in enumerate(queries)
    ]
    (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / f"{name}.tables.jsonl").write_text("\n".join(map(json.dumps, TABLES)))
    return folder / f"{name}.jsonl"


def engine(query):
    """What WikiSQL's scoring does: texts and values in small letters, columns by number, a value per column."""
    table = TABLES[0]
    select, aggregate, conditions = query
    number = {row[3]: row[3].replace(",", "") for row in table["rows"] if isinstance(row[3], str)}
    with closing(sqlite3.connect(":memory:")) as connection:
        columns = ", ".join(f"col{n} {kind}" for n, kind in enumerate(table["types"]))
        connection.execute(f"CREATE TABLE t ({columns})")
        for row in table["rows"]:
            small = [number.get(cell, cell.lower()) if isinstance(cell, str) else cell for cell in row]
            connection.execute("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)", small)
        values = []
        for column, _, value in conditions:
            if table["types"][column] == "real" and isinstance(value, str):
                value = float(value.replace(",", "").split()[0])
            values.append(value.lower() if isinstance(value, str) else value)
        where = " AND ".join(f"col{column} {'=><'[operator]} ?" for column, operator, _ in conditions) or "1"
        call = ("col{}", "MAX(col{})", "MIN(col{})", "COUNT(col{})", "SUM(col{})", "AVG(col{})")[aggregate]
        rows = connection.execute(f"SELECT {call.format(select)} FROM t WHERE {where}", values).fetchall()
    return [value for (value,) in rows]


def test_golds_have_real_names_and_give_what_wikisqls_engine_gives(tmp_path):
    documents = read_documents("sql", write(tmp_path))
    assert [document.gold for document in documents] == [f" {text}" for _, text in QUERIES]
    assert documents[0].prompt == (
        'CREATE TABLE table_1_77_2 ("Order" REAL, "Boat\'s ""name""" TEXT, Crew TEXT, "crew 2" REAL, "column 5" TEXT, '
        '"Length (m)" REAL)\n\nQuestion: q0\nSQL:'
    )
    for document, (query, _) in zip(documents, QUERIES, strict=True):
        (result,) = Judging({}).prepare(document.item, 1.0).golds[0]
        found = [value.lower() if isinstance(value, str) else value for (value,) in result.rows]
        assert found == engine(query)
        assert found not in ([], [None], [0]), "a query without a result proves nothing"


def test_answers_are_judged_without_letter_case(tmp_path, judge):
    documents = read_documents("sql", write(tmp_path), SQL.Options(compare="strict"))
    answers = [
        (2, " SELECT count(*) FROM table_1_77_2 WHERE CREW = 'bOb'", 1),
        (2, " SELECT count(*) FROM table_1_77_2 WHERE Crew = 'Ann'", 0),
        (1, ' SELECT "BOAT\'S ""NAME""" FROM Table_1_77_2 WHERE "order" >= 3', 1),
        (3, " SELECT 2 FROM table_1_77_2 WHERE col1 = 'öre'", 0),
        (4, ' SELECT max("Length (m)") FROM table_1_77_2 WHERE "crew 2" <= 900', 1),
    ]
    verdicts = judge.judge("sql", [(documents[place].judged, answer) for place, answer, _ in answers])
    assert [verdict["sql_exec"] for verdict in verdicts] == [right for *_, right in answers]
    golds = judge.judge("sql", [(document.judged, document.gold) for document in documents])
    assert all(verdict == {"sql_exec": 1.0, "sql_valid": 1.0} for verdict in golds)


def test_two_conditions_on_one_column_are_kept_apart(tmp_path):
    (document,) = read_documents("sql", write(tmp_path, [([0, 0, [[0, 1, 1], [0, 2, 3]]], "")]))
    assert document.gold.endswith('WHERE "Order" > 1 AND "Order" < 3')


def test_wikisqls_folder_and_compressed_files(tmp_path):
    for name in ("train", "dev", "test"):
        write(tmp_path, name=name)
    assert [len(part) for part in cut("sql", tmp_path, str(tmp_path)).values()] == [5, 5, 10]
    for name in ("dev.jsonl", "dev.tables.jsonl"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
    assert len(read_documents("sql", tmp_path / "dev.jsonl.gz")) == len(QUERIES)
    assert tuple(cut("sql", tmp_path, str(tmp_path / "dev.jsonl.gz"))) == SPLITS


@pytest.mark.parametrize(
    ("query", "table", "message"),
    [
        ([6, 0, []], "1-77-2", r"dev\.jsonl:1: 'sql' does not fit table '1-77-2' of 6 columns.*6 is not in 0 \.\.\. 5"),
        ([-1, 0, []], "1-77-2", r"-1 is not in"),
        ([0, 6, []], "1-77-2", r"6 is not in 0 \.\.\. 5"),
        ([0, 0, [[0, 3, 1]]], "1-77-2", r"3 is not in 0 \.\.\. 2"),
        ([0, 0, [[0, 0]]], "1-77-2", r"does not fit"),
        ([0, 0, [[0, 0, "none"]]], "1-77-2", r"does not fit"),
        ([0, 0, []], "1-77-3", r"no table '1-77-3' in dev\.tables\.jsonl: did you mean '1-77-2'"),
    ],
)
def test_errors_name_line_and_table(tmp_path, query, table, message):
    with pytest.raises(UserError, match=message):
        read_documents("sql", write(tmp_path, [(query, "")], table=table))


def test_missing_and_broken_tables(tmp_path):
    path = write(tmp_path)
    tables = tmp_path / "dev.tables.jsonl"
    tables.write_text(json.dumps(TABLES[0] | {"types": ["text"]}))
    with pytest.raises(UserError, match=r"dev\.tables\.jsonl: table '1-77-2' needs header, types and rows"):
        read_documents("sql", path)
    tables.write_text("[]")
    with pytest.raises(UserError, match=r"dev\.tables\.jsonl does not hold one table a line"):
        read_documents("sql", path)
    tables.unlink()
    with pytest.raises(
        UserError, match=r"dev\.jsonl:1: WikiSQL's rows need their tables: no file .*dev\.tables\.jsonl"
    ):
        read_documents("sql", path)
