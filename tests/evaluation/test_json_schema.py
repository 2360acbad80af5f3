"""Strict JSON and schema conformance."""

from __future__ import annotations

import json

import pytest

from evomerge.evaluation.json_schema import judge as judge_answer

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
    ('{"n": ' + "9" * 5000 + "}", 0, 0),
    ("", 0, 0),
]


@pytest.mark.parametrize(("answer", "conforms", "valid"), CASES, ids=[answer[:24] for answer, _, _ in CASES])
def test_strict_json(answer, conforms, valid):
    assert judge_answer(answer, SCHEMA) == {"json_schema": conforms, "json_valid": valid}


def test_a_fence_is_stripped_only_when_asked():
    assert judge_answer('```json\n{"n": 1}\n```', SCHEMA, strip_fence=True)["json_schema"] == 1


def test_in_the_judge_a_pattern_that_never_ends_is_wrong_and_the_judge_goes_on(judge):
    slow = json.dumps({"schema": {"type": "string", "pattern": "^(a+)+$"}})
    answers = [(slow, json.dumps("a" * 40 + "b")), (slow, '"aaa"')]
    assert [v["json_schema"] for v in judge.judge("json", answers)] == [0.0, 1.0]


def test_references_lead_nowhere_outside():
    assert judge_answer("1", {"$ref": "http://example.com/schema.json"})["json_schema"] == 0
