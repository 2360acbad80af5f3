"""Data files: formats, splits, and errors that name file, line and key."""

from __future__ import annotations

import gzip
import json

import pytest

from evomerge.errors import UserError
from evomerge.evaluation.data import SPLITS, by_hash, halves, read_documents
from evomerge.evaluation.documents import Document

SQL = {
    "question": "Who?",
    "schema": "CREATE TABLE t (a)",
    "sql": "SELECT a FROM t",
    "ddl": "CREATE TABLE t (a)",
    "table": "t",
}
JSON = {"instruction": "Go.", "schema": {"type": "integer"}, "instance": {"ü": 1}}
CODE = {
    "task_id": "x/1",
    "prompt": "def f():\n    '''One.'''\n",
    "entry_point": "f",
    "test": "def check(c):\n    assert c() == 1",
}


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_prompts(tmp_path):
    (sql,) = read_documents("sql", write(tmp_path / "a.jsonl", SQL | {"rows": [[1]]}))
    assert sql.prompt == "CREATE TABLE t (a)\n\nQuestion: Who?\nSQL:"
    assert sql.gold == " SELECT a FROM t"
    (item,) = read_documents("json", write(tmp_path / "b.jsonl", JSON))
    assert (item.prompt, item.gold) == ("Go.\n\nJSON:", ' {"ü": 1}')
    (code,) = read_documents("code", write(tmp_path / "c.jsonl", CODE))
    assert (code.id, code.prompt) == ("x/1", "def f():\n    '''One.'''")


def test_a_database_script_lies_beside_the_data_file(tmp_path):
    (tmp_path / "databases").mkdir()
    (tmp_path / "databases" / "t.sql").write_text("CREATE TABLE t (a);")
    row = {"question": "Who?", "schema": "s", "sql": "SELECT 1", "database": "databases/t.sql"}
    (document,) = read_documents("sql", write(tmp_path / "a.jsonl", row))
    assert json.loads(document.item)["databases"] == [{"script": "CREATE TABLE t (a);"}]


def test_compressed_files_are_read(tmp_path):
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(CODE).encode()))
    assert len(read_documents("code", path)) == 1


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("sql", [SQL | {"rows": []}, SQL], r"d\.jsonl:2: key 'rows' is missing"),
        ("sql", [{"question": "q", "schema": "s", "sql": "SELECT 1"}], r"d\.jsonl:1: key 'database'"),
        ("sql", [SQL | {"database": "no.sql"}], r"d\.jsonl:1: 'database' names .*no\.sql"),
        ("json", [{"instruction": "i"}], r"d\.jsonl:1: key 'schema' is missing"),
        ("json", [JSON | {"schema": {"type": "text"}}], r"d\.jsonl:1: 'schema' is no JSON Schema"),
        ("code", [{"prompt": "p", "test": "t"}], r"d\.jsonl:1: key 'entry_point' is missing \(it has: prompt, test\)"),
        ("code", [CODE, CODE], r"d\.jsonl:2: id 'x/1' is also on line 1"),
        ("code", ["not json"], r"d\.jsonl:1: not JSON"),
        ("code", ["[1]"], r"d\.jsonl:1: wanted a JSON object, got list"),
        ("code", [CODE | {"prompt": 3}], r"d\.jsonl:1: 'prompt' must be a text, got int"),
        ("code", [], r"d\.jsonl has no rows"),
    ],
)
def test_bad_rows_are_named(tmp_path, kind, rows, message):
    with pytest.raises(UserError, match=message):
        read_documents(kind, write(tmp_path / "d.jsonl", *rows))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no data file"):
        read_documents("sql", tmp_path / "none.jsonl")


def documents(count, groups=1):
    return [Document(f"id{i}", f"group{i * groups // count}", "p", "g", "{}") for i in range(count)]


def test_halves_are_disjoint_and_cut_every_group_in_two():
    cut = halves(documents(45, groups=9))
    ids = {split: {d.id for d in part} for split, part in cut.items()}
    assert not ids["search"] & ids["selection"]
    assert abs(len(cut["search"]) - len(cut["selection"])) <= 1
    for part in cut.values():
        assert {d.group for d in part} == {f"group{i}" for i in range(9)}


def test_a_users_file_is_cut_40_20_40_whatever_its_order(tmp_path):
    cut = by_hash(documents(50), tmp_path)
    assert [len(cut[split]) for split in SPLITS] == [20, 10, 20]
    assert len({d.id for part in cut.values() for d in part}) == 50
    turned = by_hash(documents(50)[::-1], tmp_path)
    assert all({d.id for d in cut[s]} == {d.id for d in turned[s]} for s in SPLITS)
    with pytest.raises(UserError, match="too few"):
        by_hash(documents(3), tmp_path)
