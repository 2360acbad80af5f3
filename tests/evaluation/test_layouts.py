"""Layouts of Spider, BIRD and MBPP, with alternatives and instances: made here, read, and judged."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest

from evomerge.errors import UserError
from evomerge.evaluation.data import SPLITS, cut, read_documents
from evomerge.evaluation.scorers.code import Code
from evomerge.evaluation.scorers.sql import SQL

TABLES = {
    "db_id": "zoo",
    "table_names_original": ["cage", "animal"],
    "column_names_original": [[-1, "*"], [0, "id"], [0, "Floor Area"], [1, "name"], [1, "cage"]],
    "column_types": ["text", "number", "number", "text", "number"],
    "primary_keys": [1],
    "foreign_keys": [[4, 1]],
}
SHOWN = (
    'CREATE TABLE cage (id NUMBER PRIMARY KEY, "Floor Area" NUMBER)\n'
    "CREATE TABLE animal (name TEXT, cage NUMBER REFERENCES cage(id))"
)


def database(path, *animals):
    path.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('CREATE TABLE cage (id INTEGER PRIMARY KEY, "Floor Area" REAL)')
        connection.execute("CREATE TABLE animal (name TEXT, cage INTEGER)")
        connection.executemany("INSERT INTO animal VALUES (?, ?)", animals)
        connection.commit()


def spider(folder, count=5, training=0):
    database(folder / "database" / "zoo" / "zoo.sqlite", ("Leo", 1), ("Kim", 2))
    database(folder / "database" / "zoo" / "zoo_2.sqlite", ("Leo", 2), ("Kim", 2))
    rows = [
        {"db_id": "zoo", "question": f"Who is in {n}?", "query": f"SELECT name FROM animal WHERE cage = {n}"}
        for n in range(count + training)
    ]
    (folder / "dev.json").write_text(json.dumps(rows[:count]))
    if training:
        (folder / "train_spider.json").write_text(json.dumps(rows[count:]))
    (folder / "tables.json").write_text(json.dumps([TABLES]))
    return folder


def test_spiders_folder(tmp_path, judge):
    parts = cut("sql", tmp_path, str(spider(tmp_path)), SQL.Options(compare="spider"))
    assert [len(parts[split]) for split in SPLITS] == [2, 1, 2]
    document = min((d for part in parts.values() for d in part), key=lambda d: d.prompt)
    assert document.prompt == f"{SHOWN}\n\nQuestion: Who is in 0?\nSQL:"
    (first,) = [d for part in parts.values() for d in part if "in 1?" in d.prompt]
    answers = [(first.gold, 1), (" SELECT 'Leo'", 0), (" SELECT name FROM animal WHERE cage IN (1)", 1)]
    verdicts = judge.judge("sql", [(first.judged, answer) for answer, _ in answers])
    assert [verdict["sql_exec"] for verdict in verdicts] == [right for _, right in answers]


def test_spiders_training_file_gives_search_and_selection_and_all_of_dev_is_test(tmp_path):
    parts = cut("sql", tmp_path, str(spider(tmp_path, training=8)))
    assert [len(parts[split]) for split in SPLITS] == [4, 4, 5]


def test_birds_folder(tmp_path, judge):
    database(tmp_path / "dev_databases" / "zoo" / "zoo.sqlite", ("Leo", 1), ("Leo", 1))
    row = {
        "question_id": 7,
        "db_id": "zoo",
        "question": "Who?",
        "evidence": "who means name",
        "SQL": "SELECT name FROM animal",
    }
    (tmp_path / "dev.json").write_text(json.dumps([row]))
    (document,) = read_documents("sql", tmp_path / "dev.json", SQL.Options(compare="bird"))
    # Without dev_tables.json the database itself gives the schema.
    shown = (
        'CREATE TABLE cage (id INTEGER PRIMARY KEY, "Floor Area" REAL)\nCREATE TABLE animal (name TEXT, cage INTEGER)'
    )
    assert document.prompt == f"{shown}\n\nQuestion: Who?\nHint: who means name\nSQL:"
    assert document.id == "7"
    assert judge.judge("sql", [(document.judged, " SELECT DISTINCT name FROM animal")])[0]["sql_exec"] == 1


def test_errors_name_the_database(tmp_path):
    spider(tmp_path)
    (tmp_path / "dev.json").write_text(json.dumps([{"db_id": "zo", "question": "?", "query": "SELECT 1"}]))
    with pytest.raises(UserError, match=r"dev\.json:1: no database 'zo': did you mean 'zoo'"):
        cut("sql", tmp_path, str(tmp_path))
    with pytest.raises(UserError, match=r"no data for a json task: a folder needs validation\.jsonl and test\.jsonl"):
        cut("json", tmp_path, str(tmp_path))
    (tmp_path / "bad.sqlite").write_text("no database")
    (tmp_path / "own.jsonl").write_text(
        json.dumps({"question": "?", "schema": "s", "sql": "SELECT 1", "database": "bad.sqlite"})
    )
    with pytest.raises(UserError, match=r"bad\.sqlite is no SQLite database"):
        read_documents("sql", tmp_path / "own.jsonl")


def test_own_rows_with_alternatives_and_instances(tmp_path, judge):
    for number in (1, 2):
        (tmp_path / f"{number}.sql").write_text(f"CREATE TABLE t (a); INSERT INTO t VALUES ({number}), (3);")
    row = {
        "question": "All or the last?",
        "schema": "CREATE TABLE t (a)",
        "sql": ["SELECT a FROM t", "SELECT max(a) FROM t"],
        "database": ["1.sql", "2.sql"],
    }
    (tmp_path / "own.jsonl").write_text(json.dumps(row))
    (document,) = read_documents("sql", tmp_path / "own.jsonl")
    answers = [(document.gold, 1), (" SELECT 3", 1), (" SELECT a FROM t WHERE a <> 2", 0)]
    verdicts = judge.judge("sql", [(document.judged, answer) for answer, _ in answers])
    assert [verdict["sql_exec"] for verdict in verdicts] == [right for _, right in answers]


def test_a_folder_with_own_splits(tmp_path):
    row = {"instruction": "Go.", "schema": {"type": "integer"}}
    for name, count in (("validation", 6), ("test", 3)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps(row | {"id": f"{name}{n}"}) for n in range(count)))
    assert [len(part) for part in cut("json", tmp_path, str(tmp_path)).values()] == [3, 3, 3]


MBPP = {
    "task_id": 2,
    "text": "Write a function to double a list.",
    "code": "import copy\r\n\r\ndef twice(xs):\r\n  # all of it\r\n  return copy.copy(xs) * 2",
    "test_list": ["assert sorted(twice([2, 1])) == [1, 1, 2, 2]", "assert twice(['''a\nb''']) == ['a\\nb', 'a\\nb']"],
    "test_setup_code": "",
}


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_mbpps_rows(tmp_path, judge, style):
    (tmp_path / "mbpp.jsonl").write_text(json.dumps(MBPP))
    (document,) = read_documents("program", tmp_path / "mbpp.jsonl", Code.Options(style=style))
    assert document.id == "2"
    assert document.prompt.startswith(
        "Write a function to double a list. Your code should pass these tests:\n\nassert sorted("
    )
    assert document.item["entry_point"] == "twice"
    wrong = document.gold.replace("* 2", "* 3")
    assert [v["pass@1"] for v in judge.judge("code", [(document.judged, document.gold), (document.judged, wrong)])] == [
        1,
        0,
    ]
    with pytest.raises(UserError, match="choose task mbpp"):
        read_documents("code", tmp_path / "mbpp.jsonl")


CHAT = {
    "task_id": "x",
    "prompt": "from math import floor\n\ndef base(x):\n    return floor(x)\n\ndef f(x):\n    '''Twice base.'''\n",
    "entry_point": "f",
    "test": "def check(candidate):\n    assert candidate(2.5) == 4",
    "canonical_solution": "    return 2 * base(x)\n",
}


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Sure:\n```python\ndef f(x):\n    return 2 * base(x)\n```\nIt doubles.", 1),
        ("```\ndef f(x):\n    return 2 * floor(x)\n", 1),
        ("def f(x):\n    return 2 * base(x)", 1),
        ("```python\n    return 2 * base(x)\n```", 1),
        ("First\n```python\nprint(f(1))\n```\nand\n```py\ndef f(x): return 2 * base(x)\n```", 1),
        ("```python\ndef f(x):\n    return base(x)\n```", 0),
        ("I cannot.", 0),
    ],
)
def test_programs_in_messages(tmp_path, judge, answer, right):
    (tmp_path / "own.jsonl").write_text(json.dumps(CHAT))
    (document,) = read_documents("code", tmp_path / "own.jsonl", Code.Options(style="chat"))
    assert document.prompt.startswith("Write a solution to the following problem")
    found = judge.judge("code", [(document.judged, document.gold), (document.judged, answer)])
    assert [verdict["pass@1"] for verdict in found] == [1, right]


CLASS = {
    "task_id": "y",
    "prompt": 'from collections import deque\n\nclass Window:\n    """Mean of the last n numbers."""\n',
    "entry_point": "Window",
    "test": (
        "def check(candidate):\n    window = candidate(2)\n    window.add(1)\n"
        "    assert abs(window.mean() - 1) < 1e-6\n"
        "    window.add(2.5)\n    window.add(3)\n    assert abs(Window.mean(window) - 2.75) < 1e-6\n"
        "    assert len(window) == 2\n"
        "    try:\n        candidate(0)\n    except ValueError as error:\n        assert 'n' in str(error)\n"
        "    else:\n        assert False"
    ),
    "canonical_solution": """
    def __init__(self, n):
        if n < 1:
            raise ValueError("n must be at least 1")
        self.last = deque(maxlen=n)

    def add(self, number):
        self.last.append(number)

    def mean(self):
        return sum(self.last) / len(self.last)

    def __len__(self):
        return len(self.last)
""",
}


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_a_class_as_the_answer_in_human_evals_form(tmp_path, judge, style):
    (tmp_path / "own.jsonl").write_text(json.dumps(CLASS))
    (document,) = read_documents("code", tmp_path / "own.jsonl", Code.Options(style=style))
    wrong = [
        ("maxlen=n", "maxlen=9"),
        ("ValueError", "KeyError"),
        ("/ len(self.last)", ""),
        ("return len", "return 1 + len"),
    ]
    answers = [document.gold, *(document.gold.replace(*change) for change in wrong)]
    found = judge.judge("code", [(document.judged, answer) for answer in answers])
    assert [verdict["pass@1"] for verdict in found] == [1, 0, 0, 0, 0]


NODES = {
    "task_id": "z",
    "prompt": '''from enum import Enum

class Node:
    def __init__(self, value, next=None):
        self.value = value
        self.next = next

    def __eq__(self, other):
        return isinstance(other, Node) and (self.value, self.next) == (other.value, other.next)

    def ends_with(self, value):
        return self.value == value if self.next is None else self.next.ends_with(value)

class Full(ValueError):
    pass

class Way(Enum):
    UP = 1
    DOWN = 2

def push(head, value, way):
    """Put a value before (UP) or behind the list, in place; the new head."""
''',
    "entry_point": "push",
    "test": """
def check(candidate):
    head = Node(1, Node(2))
    assert candidate(head, 0, Way.UP) == Node(0, Node(1, Node(2)))
    assert candidate(head, 0, Way.UP).next is head
    assert candidate(head, 3, Way.DOWN) is head and head.ends_with(3) and head.next.next == Node(3)
    assert candidate(None, 5, Way.DOWN) == Node(5) != Node(6)
    ring = Node(7)
    ring.next = Node(8, ring)
    new = candidate(ring, 6, Way.UP)
    assert new.next is ring and ring.next.next is ring
    parts = [Node(n) for n in range(40)]
    try:
        candidate(Node(1), -1, Way.UP)
        assert False
    except Full as error:
        assert error.args == (-1,)
    assert [candidate(part, 1, Way.UP).next.value for part in parts] == list(range(40))
""",
    "canonical_solution": """    if value < 0:
        raise Full(value)
    if way is Way.UP or head is None:
        return Node(value, head)
    last = head
    while last.next:
        last = last.next
    last.next = Node(value)
    return head
""",
}


def test_objects_of_a_class_in_the_prompt(tmp_path, judge):
    (tmp_path / "own.jsonl").write_text(json.dumps(NODES))
    (document,) = read_documents("code", tmp_path / "own.jsonl")
    wrong = [
        document.gold.replace("Node(value, head)", "Node(value)"),
        document.gold.replace("last.next = Node(value)", "last.next = Node(value + 1)"),
        document.gold.replace("is Way.UP", "is Way.DOWN"),
        document.gold.replace("Full(value)", "ValueError(value)"),
        document.gold.replace("return head", "return Node(head.value, head.next)"),
        # What the answer does to its copy of the class decides nothing.
        "    class Yes(Node):\n        __eq__ = ends_with = lambda *a: True\n    return Yes(0)\n",
        "    Node.__eq__ = Node.ends_with = lambda *a: True\n    return head or Node(0)\n",
        "    found = Node(0)\n    found.ends_with = bool\n    return found\n",
        "    found = Node(0)\n    found.__class__ = type('Node', (), {'__eq__': lambda *a: True})\n    return found\n",
    ]
    answers = [document.gold, *(f"\n{answer.lstrip(chr(10))}" for answer in wrong)]
    found = judge.judge("code", [(document.judged, answer) for answer in answers])
    assert [verdict["pass@1"] for verdict in found] == [1] + [0] * len(wrong)
