"""One parser for SQL, code and JSON finds right answers in many forms of messages."""

from __future__ import annotations

import json

import pytest

from evomerge.evaluation.scorers.chat_messages import fenced, parts, without_reasoning
from evomerge.evaluation.scorers.code import Code
from evomerge.evaluation.scorers.code.run_tests import program
from evomerge.evaluation.task_settings import TaskSpec
from evomerge.evaluation.tasks import load_tasks

# @ stands for the answer.
MESSAGES = [
    "@",
    "```LANGUAGE\n@\n```",
    "~~~LANGUAGE\n@\n~~~",
    "~~~~ LANGUAGE\n@\n~~~~\nThat is ~~~all~~~.",
    "````LANGUAGE\n@\n````",
    "```OTHER\n@\n```",
    "```\n@\n```",
    "```{.LANGUAGE}\n@\n```",
    '```LANGUAGE title="an answer"\n@\n```',
    "Sure! Here it is:\n\n```LANGUAGE\n@\n```\n\nIt does what you asked for.",
    "Here it is: ```LANGUAGE\n@\n```",
    "  ```LANGUAGE\n  @\n  ```",
    "1. First:\n\t```LANGUAGE\n\t@\n\t```",
    "```LANGUAGE\n@",
    "```LANGUAGE\n@```\nThere.",
    "```LANGUAGE\n@\n``` That is all.",
    "```LANGUAGE\r\n@\r\n```",
    "@\n```\n\nThat is all.",
    "```bash\npip install it\n```\n\nThen:\n\n```LANGUAGE\n@\n```",
    "```text\nwhat you asked for\n```\n~~~LANGUAGE\n@\n~~~\n```text\nwhat it gives\n```",
    "````markdown\nSo:\n\n```LANGUAGE\n@\n```\n````",
    "Here is what you asked for:\n\n@\n\nThis does it; it's short.",
    "<think>\nMaybe ```LANGUAGE\n0\n```, or @?\n</think>\n\n@",
    "<think></think>```LANGUAGE\n@\n```",
    "Maybe ```LANGUAGE\n0\n```\n</think>\n\n@",
]
QUERY = "SELECT name FROM people WHERE age > 30"
SQL = {
    "sql": [QUERY],
    "databases": [{"script": "CREATE TABLE people (name, age); INSERT INTO people VALUES ('Ada', 36), ('Cy', 20);"}],
    "compare": "bag",
}
CODE = {
    "prompt": 'def double(x):\n    """Twice x."""',
    "test": "def check(f):\n    assert f(2) == 4\n    assert f([1]) == [1, 1]\n",
    "entry_point": "double",
    "style": "chat",
}
JSON = {"schema": {"required": ["n"]}, "strip_fence": True}
KINDS = {
    "sql": (SQL, QUERY, ("sql", "SQLite3")),
    "code": (CODE, "def double(x):\n    return 2 * x", ("python", "Py")),
    "json": (JSON, '{\n  "n": 1\n}', ("json", "JSON5")),
}


def written(message: str, answer: str, languages: tuple[str, str]) -> str:
    indent = message[: message.index("@")].rpartition("\n")[2]
    answer = answer.replace("\n", "\n" + indent) if not indent.strip() else answer
    return message.replace("@", answer).replace("LANGUAGE", languages[0]).replace("OTHER", languages[1])


@pytest.mark.parametrize("kind", KINDS)
def test_a_right_answer_is_right_in_every_message_and_a_wrong_one_wrong(judge, kind):
    item, right, languages = KINDS[kind]
    wrong = right.replace("30", "10").replace("2", "3").replace('"n"', '"m"')
    answers = [written(message, text, languages) for text in (right, wrong) for message in MESSAGES]
    verdicts = judge.judge(kind, [(json.dumps(item), answer) for answer in answers])
    metric = {"sql": "sql_exec", "code": "pass@1", "json": "json_schema"}[kind]
    assert [a for a, v in zip(answers, verdicts, strict=True) if v[metric] != (a in answers[: len(MESSAGES)])] == []


def test_reasoning_that_never_ends_holds_no_answer(judge):
    for kind, (item, right, _) in KINDS.items():
        (verdict,) = judge.judge(kind, [(json.dumps(item), f"<think>\nIt may be\n{right}")])
        assert set(verdict.values()) == {0.0}, kind


@pytest.mark.parametrize(
    ("text", "insides"),
    [
        ("none", []),
        ("`a` and ``b``", []),
        ("```a```", ["a"]),
        ("```sql SELECT 1```, or ```SELECT 2```", ["SELECT 1", "SELECT 2"]),
        ("```sql SELECT 1\nFROM t\n```", ["SELECT 1\nFROM t\n"]),
        ("```\na\n~~~\nb\n```", ["a\n~~~\nb\n"]),
        ("````\na\n```\nb\n````", ["a\n```\nb\n"]),
        ("```\na\n    ```\nb\n```", ["a\n    ```\nb\n"]),
        ("```\na\n    ```\nb", ["a\n"]),
        ("  ```\n  a\n    b\n c\n  ```", ["a\n  b\nc\n"]),
        ("```\n```\n```\nb\n```", ["", "b\n"]),
        ("```", [""]),
    ],
)
def test_what_is_fenced(text, insides):
    assert list(fenced(text)) == insides


def test_reasoning_and_parts():
    assert without_reasoning('{"a": "</think>"}') == '{"a": "</think>"}'
    assert without_reasoning(" <THINK>a</think> b </think>") == " b </think>"
    assert parts("a") == ["a"]
    assert parts("a\n```\nb\n```") == ["b\n", "a\n", "a\n```\nb\n```"]


def test_a_program_that_goes_on_where_the_prompt_ends_ends_where_its_fence_does(judge):
    item = CODE | {"style": "completion"}
    body = '\n    """Twice.\n\n    ```\n    double(1)\n    ```\n    """\n    return 2 * x'
    answers = [
        body,
        body + "\n```",
        body + "\n````\n\nThis doubles x.",
        body + "\n    ~~~\n",
        body + "\n```py\n",
        "\n```",
    ]
    verdicts = judge.judge("code", [(json.dumps(item), answer) for answer in answers])
    assert [v["pass@1"] for v in verdicts] == [1, 1, 1, 1, 0, 0]
    assert program(item, "\n    return x\n```\nSo.") == CODE["prompt"] + "\n    return x\n"


def test_code_in_a_message_keeps_what_it_was(judge):
    """A body alone, in a fence or not; a docstring with a fence; prose that is Python only to the eye."""
    answers = {
        "```python\n    return 2 * x\n```": 1,
        "```python\nreturn 2 * x\n```": 1,
        "    return 2 * x": 1,
        'def double(x):\n    """\n    ```\n    double(1)\n    ```\n    """\n    return 2 * x\n': 1,
        "```python\nx = 1\n```\nwith\n```python\nimport math\n\ndouble = lambda x: 2 * x\n```": 1,
        "from what you say:\n\nimport math\n\ndef double(x):\n    return 2 * x\n\nfor x this is twice x.": 1,
        "```python\ndef twice(x):\n    return N * x\n```\n```python\nN = 2\n```\nSo:\n```python\n"
        "def double(x):\n    result = twice(x)\n    return result\n```\nTest it:\n```python\nimport pytest\n"
        "def test():\n    double(1)\n```\nor\n```python\nresult = double(1)\nx = 1\n```": 1,
        "def double(x):\n    return 2 * (x": 0,
        "The answer is 2 * x.": 0,
    }
    verdicts = judge.judge("code", [(json.dumps(CODE), answer) for answer in answers])
    assert [v["pass@1"] for v in verdicts] == list(answers.values())


def test_no_stop_cuts_a_message(judge):
    specs = [TaskSpec(name, name, chat_template=True, limit=1) for name in ("sql", "json")]
    specs.append(TaskSpec("code", "humaneval", options=Code.Options(style="chat"), limit=1))
    tasks = load_tasks(specs, judge, lambda: lambda messages, add_generation_prompt=True: messages[-1]["content"])
    assert {task.items("test")[0].until for task in tasks.values()} == {()}
    plain = load_tasks([TaskSpec("sql", "sql", limit=1), TaskSpec("code", "humaneval", limit=1)], judge)
    assert "\n\n" in plain["sql"].items("test")[0].until and "\n```" in plain["code"].items("test")[0].until
