"""Strict JSON and schema conformance."""

from __future__ import annotations

import json

import pytest

from evomerge.evaluation.scorers.json.check_answer import judge as judge_answer

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 0}, "kind": {"enum": ["a", "b"]}},
    "required": ["n"],
    "additionalProperties": False,
}

CASES = [
    (' {"n": 1, "kind": "a"}\n', 1, 1),
    ('{"n": 1.0}', 1, 1),
    ('{"n": -1}', 0, 1),
    ('{"n": 1, "x": 2}', 0, 1),
    ("{}", 0, 1),
    ("[1]", 0, 1),
    ('{"n": 1} done', 0, 0),
    ('{"n": 1}{"n": 1}', 0, 0),
    ('{"n": 1, "n": 1}', 0, 0),
    ('{"n": NaN}', 0, 0),
    ('{"n": Infinity}', 0, 0),
    ('{"n": 01}', 0, 0),
    ("{'n': 1}", 0, 0),
    ('{"n": 1,}', 0, 0),
    ('{"n": 1} // yes', 0, 0),
    ('{"kind": "\\ud800"}', 0, 0),
    ('{"kind": "\t"}', 0, 0),
    ('\u00a0{"n": 1}', 0, 0),
    ('\ufeff{"n": 1}', 0, 0),
    ('```json\n{"n": 1}\n```', 0, 0),
    ("[" * 100_000, 0, 0),
    ("[" * 100 + "]" * 100, 0, 0),
    ("[" * 60 + "]" * 60, 0, 1),
    ('{"n": ' + "9" * 5000 + "}", 0, 0),
    ('{"n": ' + "9" * 1000 + "}", 1, 1),
    ('{"n": 1.' + "0" * 5000 + "}", 0, 0),
    ('{"n": -0}', 1, 1),
    ('{"n": 1e2}', 1, 1),
    ('{"n": +1}', 0, 0),
    ('{"n": .5}', 0, 0),
    ('{"n": 1.}', 0, 0),
    ('{"n": 0x1}', 0, 0),
    ('{"n": 1_000}', 0, 0),
    ('{"n": \uff11}', 0, 0),
    ("null", 0, 1),
    ("True", 0, 0),
    ("", 0, 0),
]


@pytest.mark.parametrize(("answer", "conforms", "valid"), CASES, ids=[answer[:24] for answer, _, _ in CASES])
def test_strict_json(answer, conforms, valid):
    assert judge_answer({"schema": SCHEMA}, answer) == {"json_schema": conforms, "json_valid": valid}


def test_a_fence_is_stripped_only_when_asked():
    item = {"schema": SCHEMA, "strip_fence": True}
    right = {"json_schema": 1, "json_valid": 1}
    assert judge_answer(item, '```json\n{"n": 1}\n```\n') == right | {"json_fenced": 1}
    assert judge_answer(item, '{"n": 1}') == right | {"json_fenced": 0}
    assert judge_answer(item, '```json\n{"n": 1}\n```\nThere.') == right | {"json_fenced": 1}
    assert judge_answer(item, '{"n": 1, "kind": "```a```"}') == {"json_schema": 0, "json_valid": 1, "json_fenced": 0}
    for text in (
        '```json\n{"n": 1',
        '```json\n{"n": 1,}\n```',
        '{"n": 1}{"n": 1}',
        '[{"n": 1}, {"n":',
        '<think>{"n": 1}',
        "x",
    ):
        assert judge_answer(item, text) == {"json_schema": 0, "json_valid": 0, "json_fenced": 0}
        assert judge_answer({"schema": SCHEMA}, text) == {"json_schema": 0, "json_valid": 0}


CALL = {
    "name": "trip",
    "arguments": {
        "to": ["NYC", "New York"],
        "days": [2],
        "by": ["", "train"],
        "seats": [{"row": [1, 2], "side": ["", "a"]}],
    },
}


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({"to": "NYC", "days": 2, "seats": {"row": 2}}, 1),
        ({"to": "New York", "days": 2.0, "by": "train", "seats": {"row": 1, "side": "a"}}, 1),
        ({"to": "nyc", "days": 2, "seats": {"row": 2}}, 0),
        ({"to": "NYC", "seats": {"row": 2}}, 0),
        ({"to": "NYC", "days": True, "seats": {"row": 2}}, 0),
        ({"to": "NYC", "days": 2, "by": "car", "seats": {"row": 2}}, 0),
        ({"to": "NYC", "days": 2, "seats": {"row": 3}}, 0),
        ({"to": "NYC", "days": 2, "seats": {"row": 2}, "class": 1}, 0),
        (["NYC", 2], 0),
    ],
)
def test_a_call_is_exact_with_accepted_arguments(arguments, right):
    answer = json.dumps({"name": "trip", "arguments": arguments})
    assert judge_answer({"schema": True, "call": CALL}, answer) == {
        "json_schema": 1,
        "json_valid": 1,
        "json_exact": right,
    }
    assert judge_answer({"schema": True, "call": CALL}, answer.replace("trip", "fly"))["json_exact"] == 0


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ('{"b": [1, null], "a": 1.0}', 1),
        ("7", 1),
        ("7.0", 1),
        ('{"a": true, "b": [1, null]}', 0),
        ('{"a": 1}', 0),
        ("oh", 0),
    ],
)
def test_exact_is_one_of_the_accepted_values(answer, right):
    item = {"schema": True, "accepted": [{"a": 1, "b": [1, None]}, 7]}
    assert judge_answer(item, answer)["json_exact"] == right


def test_in_the_judge_a_pattern_that_never_ends_is_wrong_and_the_judge_goes_on(judge):
    slow = json.dumps({"schema": {"type": "string", "pattern": "^(a+)+$"}})
    answers = [(slow, json.dumps("a" * 40 + "b")), (slow, '"aaa"')]
    assert [v["json_schema"] for v in judge.judge("json", answers)] == [0.0, 1.0]


def test_references_lead_nowhere_outside():
    assert judge_answer({"schema": {"$ref": "http://example.com/schema.json"}}, "1")["json_schema"] == 0
