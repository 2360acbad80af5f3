"""Every gold is right, and no stop string cuts one: of the shipped tasks, of HumanEval, and of ../shared/data."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from evomerge.evaluation.data import SPLITS, read_documents
from evomerge.evaluation.scorers.code import Code
from evomerge.evaluation.scorers.sql import SQL
from evomerge.evaluation.task_files import task_names, tasks_folder
from evomerge.evaluation.task_settings import TaskSpec
from evomerge.evaluation.tasks import load_tasks

OWN = [name for name in task_names() if (tasks_folder() / name / "test.jsonl").is_file()] + ["humaneval"]
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
FILES = [("sql", "sql_validation.jsonl"), ("json", "json_validation.jsonl"), ("mbpp", "code_validation.jsonl")]
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not beside this checkout")


def cut(text: str, until: tuple[str, ...]) -> str:
    """What a backend gives back of ``text``."""
    for stop in until:
        text = text.split(stop)[0]
    return text


def wrong_golds(task) -> list[str]:
    """Items whose gold, cut at the stop strings as an answer is, scores wrong or lost something to them."""
    found = []
    for split in SPLITS:
        if not task._items[split]:
            continue
        items = task.items(split)
        answers = [cut(item.document["gold"], item.until) for item in items]
        found += [i.id for i, a in zip(items, answers, strict=True) if a.strip() != i.document["gold"].strip()]
        found += [score.item for score in task.score(items, answers) if score.outcome != 1.0]
    return found


@pytest.mark.parametrize("name", OWN)
def test_golds_of_the_own_tasks(judge, name):
    assert wrong_golds(load_tasks([TaskSpec(name, name)], judge)[name]) == []


@needs_shared
@pytest.mark.parametrize(("task", "file"), FILES)
def test_golds_of_the_shared_data(judge, task, file):
    spec = TaskSpec("gold", task, data=str(SHARED / file))
    assert wrong_golds(load_tasks([spec], judge)["gold"]) == []


@needs_shared
@pytest.mark.parametrize("compare", ["strict", "spider", "bird"])
def test_golds_are_right_in_every_comparison(judge, compare):
    documents = read_documents("sql", SHARED / "sql_validation.jsonl", SQL.Options(compare=compare))
    verdicts = judge.judge("sql", [(document.judged, document.gold) for document in documents])
    assert all(verdict == {"sql_exec": 1.0, "sql_valid": 1.0} for verdict in verdicts)


@needs_shared
def test_shared_json_golds_are_exact_and_another_items_gold_is_not(judge):
    documents = read_documents("json", SHARED / "json_validation.jsonl")
    verdicts = judge.judge("json", [(document.judged, document.gold) for document in documents])
    assert all(verdict["json_exact"] == 1.0 for verdict in verdicts)
    others = judge.judge("json", [(d.judged, o.gold) for d, o in pairwise(documents)])
    assert sum(verdict["json_exact"] for verdict in others) < 5


def test_golds_as_chat_messages(judge):
    spec = TaskSpec("chat", "humaneval", options=Code.Options(style="chat"))
    task = load_tasks([spec], judge, lambda: _plain)["chat"]
    items = task.items("test")[:40]
    assert all(item.until == () and item.prompt.startswith("<user>Write a solution") for item in items)
    answers = [f"Here it is.\n{item.document['gold']}\nIt works." for item in items]
    assert all(score.outcome == 1.0 for score in task.score(items, answers))


def _plain(messages, add_generation_prompt=True):
    return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>" * add_generation_prompt


def test_pass_at_k_of_samples(judge):
    """Three of five samples are right: pass@1 is 3/5, pass@3 is certain."""
    spec = TaskSpec("many", "python_basics", limit=2, options=Code.Options(samples=5, k=(1, 2, 3)))
    task = load_tasks([spec], judge)["many"]
    item = task.items("test")[0]
    assert len({request.seed for request in item.generations()}) == 5 and item.temperature == 0.8
    gold = item.document["gold"]
    (score,) = task.score([item], [[gold, "\n    pass", gold + "\n", "", gold + "  "]])
    assert score.metrics == {"pass@1": pytest.approx(0.6), "pass@2": pytest.approx(0.9), "pass@3": 1.0}
    assert (task.metric, score.outcome) == ("pass@1", pytest.approx(0.6))


def test_a_backend_that_cannot_sample_gives_the_greedy_pass_at_1_and_says_so(judge, caplog):
    spec = TaskSpec("many", "python_basics", limit=1, options=Code.Options(samples=5, k=(3,)))
    task = load_tasks([spec], judge, can_sample=False)["many"]
    (item,) = task.items("test")
    assert [request.temperature for request in item.generations()] == [0.0]
    assert "pass@1 of the greedy answer is scored instead of pass@3" in caplog.text
    (score,) = task.score([item], [item.document["gold"]])
    assert (task.metric, score.metrics) == ("pass@1", {"pass@1": 1.0})


def test_data_of_the_shared_folder_is_not_ours():
    """The own tasks hold none of its rows."""
    root = Path(__file__).resolve().parents[3] / "tasks"
    if not SHARED.is_dir():
        pytest.skip("../shared/data is not beside this checkout")
    questions = {json.loads(line)["question"] for line in (SHARED / "sql_validation.jsonl").open(encoding="utf-8")}
    own = {json.loads(line)["question"] for line in (root / "sql" / "test.jsonl").open(encoding="utf-8")}
    assert not questions & own
