"""Tasks: golds are right, splits are disjoint, and scores equal those of lm-eval."""

from __future__ import annotations

import json

import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager

from evomerge.errors import UserError
from evomerge.evaluation.data import SPLITS
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.lm_eval_adapter import BackendLM
from evomerge.evaluation.lm_eval_functions import use
from evomerge.evaluation.task_files import tasks_folder
from evomerge.evaluation.task_settings import TaskSpec
from evomerge.evaluation.tasks import load_tasks
from evomerge.evaluation.worker import EvaluationWorker
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.backends.hf import HFBackend
from evomerge.types import Artifact, Work, scores_by_task

OWN = ("sql", "json", "python_basics")


@pytest.fixture(scope="module")
def tasks(judge):
    specs = [TaskSpec(name, name) for name in (*OWN, "humaneval")]
    return load_tasks(specs, judge)


@pytest.mark.parametrize(("name", "split"), [(n, s) for n in OWN for s in SPLITS] + [("humaneval", "test")])
def test_every_gold_is_right_and_an_empty_answer_is_wrong(tasks, name, split):
    items = tasks[name].items(split)
    scores = tasks[name].score(items, [item.document["gold"] for item in items])
    assert [score.item for score in scores if score.outcome != 1.0] == []
    assert all(score.outcome == 0.0 for score in tasks[name].score(items[:5], [""] * 5))


def test_humaneval_has_test_items_only(tasks):
    assert len(tasks["humaneval"].items("test")) == 164
    with pytest.raises(UserError, match=r"humaneval.*no search items"):
        tasks["humaneval"].items("search")


@pytest.mark.parametrize("name", OWN)
def test_splits_are_disjoint(tasks, name):
    ids = [{item.prompt for item in tasks[name].items(split)} for split in SPLITS]
    assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])


def test_a_limit_spreads_the_items(judge, tasks):
    limited = load_tasks([TaskSpec("few", "sql", limit=4)], judge)["few"].items("test")
    every = tasks["sql"].items("test")
    assert [item.id for item in limited] == [every[len(every) * i // 4].id for i in range(4)]
    assert limited[0].task == "few"


def test_a_users_file_and_answer_length(judge, tmp_path):
    rows = [{"id": f"i{n}", "instruction": "Go.", "schema": {"const": n}, "instance": n} for n in range(10)]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    task = load_tasks([TaskSpec("mine", "json", data=str(path), max_new_tokens=300)], judge)["mine"]
    assert [len(task.items(split)) for split in SPLITS] == [4, 2, 4]
    items = task.items("test")
    assert items[0].max_new_tokens == 300
    assert [score.outcome for score in task.score(items, [item.document["gold"] for item in items])] == [1.0] * 4


def test_unknown_and_repeated_names_are_the_users_error(judge):
    with pytest.raises(UserError, match="did you mean 'sql'"):
        load_tasks([TaskSpec("sqll", "sqll")], judge)
    with pytest.raises(UserError, match="names of tasks must differ"):
        load_tasks([TaskSpec("a", "sql"), TaskSpec("a", "json")], judge)
    with pytest.raises(UserError, match=r"tasks\.a\.limit must be at least 1"):
        TaskSpec("a", "sql", limit=0)


class GoldBackend:
    """Answers every other request with the item's gold answer, so that scores to compare are neither 0 nor 1."""

    def __init__(self, golds):
        self._golds = golds
        self._order = {prompt: number for number, prompt in enumerate(golds)}

    def generate(self, requests):
        return [self._golds[r.prompt] if self._order[r.prompt] % 2 else " SELECT {" for r in requests]


@pytest.mark.parametrize("name", OWN)
def test_scores_equal_simple_evaluate(judge, tasks, name):
    """The same answers through lm-eval's own loop: prompts, filters, metrics and means are the same."""
    items = tasks[name].items("test")
    backend = GoldBackend({item.prompt: item.document["gold"] for item in items})
    requests = [GenerationRequest(item.prompt, item.until, item.max_new_tokens) for item in items]
    ours = tasks[name].score(items, backend.generate(requests))
    use(judge)
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False)
    result = simple_evaluate(
        BackendLM(backend), tasks=[name], task_manager=manager, bootstrap_iters=0, log_samples=True
    )
    metric = tasks[name].metric
    assert result["results"][name][f"{metric},none"] == pytest.approx(scores_by_task(ours)[name].mean)
    assert 0.2 < scores_by_task(ours)[name].mean < 0.8
    samples = {sample["doc"]["id"]: sample[metric] for sample in result["samples"][name]}
    assert samples == {score.item: score.outcome for score in ours}


def test_a_worker_scores_a_real_model_as_simple_evaluate_does(pico_model):
    folder = pico_model()
    with Judge() as judge:
        tasks = load_tasks(
            [TaskSpec("json", "json", limit=6, max_new_tokens=8), TaskSpec("sql", "sql", limit=6)], judge
        )
        backend = HFBackend(folder, dtype="float32", batch_size=4)
        worker = EvaluationWorker(backend, tasks, judge)
        done = worker.evaluate(Work("k", Artifact(str(folder)), "test", ("sql", "json")))
        assert [score.task for score in done.items] == ["sql"] * 6 + ["json"] * 6
        assert (done.key, done.isolation, done.error) == ("k", judge.level, None)
        some = tuple(score.item for score in done.items[4:1:-2])  # of sql, in another order than the data's
        part = worker.evaluate(Work("p", Artifact(str(folder)), "test", ("sql", "json"), items={"sql": some}))
        wanted = [score for score in done.items if score.task == "json" or score.item in some]
        assert [(s.task, s.item, s.outcome, s.answer) for s in part.items] == [
            (s.task, s.item, s.outcome, s.answer) for s in wanted
        ]
        use(judge)
        manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False)
        chosen = [i * 200 // 6 for i in range(6)]
        result = simple_evaluate(
            BackendLM(backend),
            tasks=["sql"],
            task_manager=manager,
            samples={"sql": chosen},
            bootstrap_iters=0,
            log_samples=True,
        )
        theirs = {s["doc"]["id"]: (s["sql_exec"], s["filtered_resps"][0]) for s in result["samples"]["sql"]}
        assert theirs == {s.item: (s.outcome, s.answer) for s in done.items if s.task == "sql"}
