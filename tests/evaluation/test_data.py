"""Data files: formats, splits, and errors that name file, line and key."""

from __future__ import annotations

import gzip
import json

import pytest

from evomerge.errors import UserError
from evomerge.evaluation.data import SPLITS, by_hash, halves, read_documents
from evomerge.evaluation.documents import Document
from evomerge.evaluation.scorers.code import Code

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
MBPP = {
    "task_id": 1,
    "text": "Letters.",
    "code": "from collections import Counter\n\ndef letters(x):\n    return list(x)",
    "test_list": ["assert Counter(letters('aab')) == Counter('aba')"],
    "test_setup_code": "from collections import Counter",
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
    assert document.item["databases"] == [{"script": "CREATE TABLE t (a);"}]


def test_compressed_files_are_read(tmp_path):
    path = tmp_path / "c.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(CODE).encode()))
    assert len(read_documents("code", path)) == 1


def test_a_byte_order_mark_and_other_separators_of_lines_are_no_errors(tmp_path):
    path = tmp_path / "a.jsonl"
    text = json.dumps(JSON | {"instruction": "a\u2028b"}, ensure_ascii=False)
    path.write_bytes(f"\ufeff{text}\r\n\r\n{text}".encode())
    assert [document.prompt for document in read_documents("json", path)] == ["a\u2028b\n\nJSON:"] * 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", json.dumps(JSON, ensure_ascii=False).encode("latin-1"), r"a\.jsonl is no UTF-8 text \(byte \d+"),
        ("a.jsonl.gz", b"{}", r"cannot read .*a\.jsonl\.gz: Not a gzipped file"),
        (
            "a.jsonl.gz",
            gzip.compress(json.dumps(JSON).encode())[:-9],
            r"cannot read .*a\.jsonl\.gz: Compressed file ended",
        ),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_documents("json", tmp_path / name)


def test_the_tested_function_is_one_that_the_gold_defines(tmp_path, judge):
    (document,) = read_documents("program", write(tmp_path / "a.jsonl", MBPP), Code.Options(style="chat"))
    assert document.item["entry_point"] == "letters"
    answers = ["```sh\nls\n```\n" + document.gold, document.gold.replace("list(x)", "[]")]
    verdicts = judge.judge("code", [(document.judged, answer) for answer in answers])
    assert [verdict["pass@1"] for verdict in verdicts] == [1.0, 0.0]


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_a_tested_function_may_be_called_check(tmp_path, judge, style):
    """As in MBPP 56, 349, 899 and 967."""
    code = "def _half(n):\n    return n // 2\n\ndef check(n):\n    return _half(n) * 2 == n"
    row = {"task_id": 1, "text": "Even?", "code": code, "test_list": ["assert check(4)", "assert not check(5)"]}
    (document,) = read_documents("program", write(tmp_path / "a.jsonl", row), Code.Options(style=style))
    answers = [document.gold, document.gold.replace("* 2 == n", "* 2 != n"), ""]
    verdicts = judge.judge("program", [(document.judged, answer) for answer in answers])
    assert verdicts == [{"pass@1": 1.0}, {"pass@1": 0.0}, {"pass@1": 0.0}]


@pytest.mark.parametrize(
    ("gold", "test", "together"),
    [
        ("class A:\n    pass\ndef f():\n    return A()", "assert f() is not None", True),
        ("class A(ValueError):\n    pass\ndef f():\n    raise A", "try: f()\nexcept A: pass", True),
        ("import collections as c\nP = c.namedtuple('P', 'a b')\ndef f(): return P(1, 2)", "assert f().b", True),
        ("from collections import Counter\ndef f():\n    return Counter('a')", "assert f()['a'] == 1", False),
    ],
    ids=["a class", "an exception", "a named tuple", "a class of the library"],
)
def test_tests_share_a_process_with_the_answer_where_the_gold_defines_a_class(tmp_path, judge, gold, test, together):
    row = {"task_id": 1, "text": "?", "code": gold, "test_list": [test]}
    (document,) = read_documents("program", write(tmp_path / "a.jsonl", row))
    assert judge.judge("program", [(document.judged, document.gold)]) == [
        {"pass@1": 1.0} | ({"trusted": 1.0} if together else {})
    ]


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
        (
            "code",
            [CODE | {"test": "import numpy.linalg as n\n" + CODE["test"]}],
            r"d\.jsonl:1: it imports numpy\.linalg",
        ),
        ("code", [CODE | {"prompt": "from scipy import stats\n" + CODE["prompt"]}], r"d\.jsonl:1: it imports scipy"),
        ("program", [MBPP | {"test_imports": ["import numpy"]}], r"d\.jsonl:1: it imports numpy"),
    ],
)
def test_bad_rows_are_named(tmp_path, kind, rows, message):
    with pytest.raises(UserError, match=message):
        read_documents(kind, write(tmp_path / "d.jsonl", *rows))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no data file"):
        read_documents("sql", tmp_path / "none.jsonl")


def documents(count, groups=1):
    return [Document(f"id{i}", "p", "g", {}, group=f"group{i * groups // count}") for i in range(count)]


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
