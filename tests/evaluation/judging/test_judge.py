"""The judge gives verdicts in the background; test_sandbox.py covers its processes."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest

from evomerge.evaluation.judging import judge as judging
from evomerge.evaluation.judging.judge import Judge, JudgeFailed
from evomerge.evaluation.judging.sandbox import SandboxSettings

ITEM = json.dumps(
    {"prompt": "def double(x):\n", "test": "def check(f):\n    assert f(2) == 4\n", "entry_point": "double"}
)
SCHEMA = json.dumps({"schema": {"const": 1}})


def code_answers(count: int) -> list[tuple[str, str]]:
    """Every third one is right."""
    return [(ITEM, f"    return {2 if n % 3 == 0 else 5} * x  # {n}") for n in range(count)]


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def test_answers_begun_are_judged_while_nobody_asks():
    answers = code_answers(2 * judging._BATCH)
    with Judge() as judge:
        for answer in answers:
            judge.begin("code", [answer])
        until(lambda: all(judge._verdicts.values()))
        sent = []
        ask = judge._process.ask
        judge._process.ask = lambda request: sent.append(request) or ask(request)
        assert judge.judge("code", answers) == [{"pass@1": float(n % 3 == 0)} for n in range(len(answers))]
        assert sent == []  # all was known


def test_verdicts_do_not_depend_on_what_was_begun():
    code, texts = code_answers(20), [(SCHEMA, text) for text in ("1", "2", "[", "1.0")]
    with Judge() as judge:
        at_once = judge.judge("code", code), judge.judge("json", texts)
    with Judge() as judge:
        for first, second in zip(code, texts * 5, strict=True):
            judge.begin("code", [first])
            judge.begin("json", [second])
        assert (judge.judge("code", code), judge.judge("json", texts)) == at_once


def test_equal_answers_are_judged_once():
    with Judge() as judge:
        sent = []
        ask = judge._process.ask
        judge._process.ask = lambda request: sent.extend(request["items"]) or ask(request)
        for _ in range(40):
            judge.begin("code", code_answers(2))
        assert len(judge.judge("code", code_answers(3) * 2)) == 6
        assert len(sent) == 3


def test_a_bad_item_is_raised_where_its_verdict_is_asked_for_and_spoils_no_other():
    bad = json.dumps(
        {"sql": ["SELECT nothing FROM nowhere"], "compare": "bag", "databases": [{"script": "CREATE TABLE t (x)"}]}
    )
    good = json.dumps({"sql": ["SELECT 1"], "compare": "bag", "databases": [{"script": "CREATE TABLE t (x)"}]})
    with Judge() as judge:
        answers = [(good, f"SELECT {n}") for n in range(judging._BATCH)]
        judge.begin("sql", [(bad, "SELECT 1"), *answers])
        assert [verdict["sql_exec"] for verdict in judge.judge("sql", answers)] == [0, 1] + [0] * (len(answers) - 2)
        for _ in range(2):
            with pytest.raises(JudgeFailed, match="cannot be judged"):
                judge.judge("sql", [(bad, "SELECT 1")])
        assert judge.judge("sql", [(good, "SELECT 1")])[0]["sql_exec"] == 1


def test_a_judge_that_dies_in_the_background_is_started_again():
    with Judge() as judge:
        assert judge.level
        os.kill(judge._process._process.pid, 9)
        judge.begin("code", code_answers(judging._BATCH))
        assert judge.judge("code", code_answers(4)) == [{"pass@1": x} for x in (1.0, 0.0, 0.0, 1.0)]


def test_close_does_not_wait_for_answers_that_nobody_wants(monkeypatch):
    monkeypatch.setattr(judging, "_CLOSE_SECONDS", 0.1)
    before = threading.enumerate()  # other judges may be open, as that of lm-eval's functions
    judge = Judge(SandboxSettings(code_seconds=60, code_wall=300))
    judge.begin("code", [(ITEM, f"    while True: pass  # {n}") for n in range(judging._BATCH)])
    until(lambda: judge._process._process is not None and judge._process._level)
    process = judge._process._process
    judge.close()
    assert process.poll() is not None
    assert not [t for t in threading.enumerate() if t.name.startswith("judge") and t not in before]
