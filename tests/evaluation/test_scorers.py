"""Conformance of every scorer, and of a third party's scorer in one file."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from scorer_kit import check_empty, check_endless, check_gold, check_metrics, check_options, planted

from evomerge.errors import UserError
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.judging.sandbox import SandboxSettings
from evomerge.evaluation.lm_eval_functions import process_results, use
from evomerge.evaluation.scorers.base import SCORERS
from evomerge.evaluation.task_files import _Loader, find_task, task_names, tasks_folder
from evomerge.evaluation.task_settings import task_settings
from evomerge.evaluation.tasks import load_tasks

JUDGED = [name for name in task_names() if find_task(name).scorer is not None]


@pytest.fixture(scope="module")
def strict():
    with Judge(SandboxSettings(code_seconds=1, sql_seconds=0.2)) as judge:
        yield judge


@pytest.mark.parametrize("name", SCORERS)
@pytest.mark.parametrize("check", [check_gold, check_empty, check_endless, check_metrics])
def test_a_scorer_keeps(check, name, strict):
    check(SCORERS[name], strict)


@pytest.mark.parametrize("name", SCORERS)
def test_options_round_trip(name, tmp_path):
    check_options(SCORERS[name], tmp_path)


def test_every_scorer_has_a_task():
    assert {find_task(name).scorer for name in JUDGED} == set(SCORERS)


@pytest.mark.parametrize("name", JUDGED)
def test_a_tasks_file_lists_its_scorers_metrics(name):
    """lm-eval takes the means from there."""
    values = yaml.load((tasks_folder() / name / f"{name}.yaml").read_text(), _Loader)
    assert tuple(entry["metric"] for entry in values["metric_list"]) == SCORERS[values["metadata"]["scorer"]].metrics


def test_the_judges_process_imports_nothing_heavy():
    program = """
        import sys
        from evomerge.evaluation.judging import judge_server
        for name in judge_server.SCORERS:
            judge_server.SCORERS[name].load()
        print([name for name in ("torch", "transformers", "lm_eval", "datasets", "numpy") if name in sys.modules])
    """
    lines = "\n".join(
        line.strip() if "SCORERS[" not in line else "    " + line.strip() for line in program.splitlines()
    )
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


NUMBER = '''
"""The last number of an answer equals the gold one."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from evomerge.evaluation.documents import Document, Row
from evomerge.evaluation.scorers.base import Item, Scorer, scorer

_NUMBER = re.compile(r"-?\\d+(?:[.]\\d+)?")


@scorer(metrics=("number_exact", "number_found"))
class Number(Scorer):
    """A row has ``question`` and ``answer``, a number."""

    example: ClassVar[Mapping[str, Any]] = {"question": "2 + 2?", "answer": 4}

    @dataclass(frozen=True)
    class Options:
        """``tolerance``: by which the numbers may differ."""

        tolerance: float = 0.0

    def read(self, row: Row, options: Options) -> Document:
        if not isinstance(row["answer"], (int, float)):
            row.fail(f"'answer' must be a number, got {type(row['answer']).__name__}")
        item = {"answer": row["answer"], "tolerance": options.tolerance}
        return Document(row.name("id"), f"{row.text('question')}\\nAnswer:", f" {row['answer']}", item)

    def judge(self, item: Item, answer: str) -> dict[str, float]:
        found = _NUMBER.findall(answer)
        right = bool(found) and abs(float(found[-1]) - item["answer"]) <= item["tolerance"]
        return {"number_exact": float(right), "number_found": float(bool(found))}
'''
TASK = """
task: number
custom_dataset: !function evomerge.evaluation.lm_eval_functions.dataset
validation_split: validation
test_split: test
output_type: generate_until
doc_to_text: prompt
doc_to_target: gold
target_delimiter: ""
process_results: !function evomerge.evaluation.lm_eval_functions.process_results
num_fewshot: 0
generation_kwargs:
  do_sample: false
  max_gen_toks: 16
  until: ["\\n"]
metric_list:
  - {metric: number_exact, aggregation: mean, higher_is_better: true}
  - {metric: number_found, aggregation: mean, higher_is_better: true}
metadata:
  version: 1.0
  scorer: number
"""


@pytest.fixture
def number(tmp_path):
    """The scorer's one file, and the folder of a task that names it."""
    (tmp_path / "plugins").mkdir()
    folder = tmp_path / "number"
    folder.mkdir()
    (folder / "number.yaml").write_text(TASK)
    for split in ("validation", "test"):
        rows = [{"id": f"{split}{n}", "question": f"{n} + 1?", "answer": n + 1} for n in range(4)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with planted(tmp_path / "plugins", "number", NUMBER) as scorer:
        yield scorer, str(folder / "number.yaml")


def test_a_scorer_is_one_file(number, tmp_path):
    scorer, task = number
    exact = task_settings("exact", {"task": task})
    near = task_settings("near", {"task": task, "tolerance": "0.5", "limit": 2})
    with Judge() as judge:
        for check in (check_gold, check_empty, check_endless, check_metrics):
            check(scorer, judge)
        check_options(scorer, tmp_path)
        tasks = load_tasks([exact, near], judge)
        items = tasks["exact"].items("test")
        assert [len(tasks["exact"].items(split)) for split in ("search", "selection", "test")] == [2, 2, 4]
        answers = ["1", " I think it is 2.4", "no idea", "4.0"]
        scores = tasks["exact"].score(items, answers)
        assert [score.outcome for score in scores] == [1.0, 0.0, 0.0, 1.0]
        assert scores[2].metrics == {"number_exact": 0.0, "number_found": 0.0}
        few = tasks["near"].items("test")
        assert [score.outcome for score in tasks["near"].score(few, ["1.5", "1.4"])] == [1.0, 0.0]
        use(judge)
        try:
            assert process_results(items[1].document, ["2"]) == {"number_exact": 1.0, "number_found": 1.0}
        finally:
            use(None)


def test_settings_of_a_strangers_scorer_are_checked(number, tmp_path):
    _, task = number
    with pytest.raises(UserError, match=r"unknown setting 'tasks\.mine\.tolerence': did you mean 'tolerance'\?"):
        task_settings("mine", {"task": task, "tolerence": 1})
    with pytest.raises(UserError, match=r"tasks\.mine\.tolerance takes a number, got tasks\.mine\.tolerance=much"):
        task_settings("mine", {"task": task, "tolerance": "much"})
    with pytest.raises(UserError, match=r"tasks\.mine\.tolerance is for number tasks, and 'sql' is a sql task"):
        task_settings("mine", {"task": "sql", "tolerance": 1.0})
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": "?", "answer": "four"}\n')
    with Judge() as judge, pytest.raises(UserError, match=r"bad\.jsonl:1: 'answer' must be a number, got str"):
        load_tasks([task_settings("mine", {"task": task, "data": str(bad)})], judge)


FAULTS = {
    "gold": (check_gold, "float(right)", "float(not right)"),
    "empty": (check_empty, 'float(right), "number', 'float(right or not found), "number'),
    "metrics": (check_metrics, ', "number_found": float(bool(found))', ""),
    "undeclared": (check_metrics, '"number_found": float', '"found": float'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_turns_the_kit_red(fault, tmp_path):
    check, right, wrong = FAULTS[fault]
    assert right in NUMBER
    code = NUMBER.replace(right, wrong)
    with planted(tmp_path, "number", code) as scorer, Judge() as judge, pytest.raises(AssertionError):
        check(scorer, judge)


def test_an_option_that_does_not_round_trip_turns_the_kit_red(tmp_path):
    code = NUMBER.replace(
        "tolerance: float = 0.0", "tolerance: float = 0.0\n\n        def __eq__(self, other): return False"
    )
    with planted(tmp_path, "number", code) as scorer, pytest.raises(AssertionError):
        check_options(scorer, tmp_path)


def test_an_endless_answer_that_is_right_turns_the_kit_red(tmp_path):
    code = NUMBER.replace("    @dataclass", '    endless = "4"\n\n    @dataclass', 1)
    with planted(tmp_path, "number", code) as scorer, Judge() as judge, pytest.raises(AssertionError):
        check_endless(scorer, judge)
