"""Any lm-eval task gives the numbers of lm-eval's loop and model, item by item."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import yaml
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.errors import UserError
from evomerge.evaluation import harness_index
from evomerge.evaluation.harness_index import load_leaves
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.lm_eval_adapter import BackendLM
from evomerge.evaluation.task_settings import TaskSpec
from evomerge.evaluation.tasks import load_tasks
from evomerge.evaluation.worker import EvaluationWorker
from evomerge.inference.backends.hf import HFBackend
from evomerge.types import Artifact, Work, scores_by_task

WORDS = [
    "SELECT",
    "FROM employees",
    "salary",
    "return a + b",
    "Ada",
    "tags",
    "100",
    "INTEGER",
    "name TEXT",
    "earn more",
]
CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% if not loop.last or add_generation_prompt %}\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)


def rows(count: int, shift: int = 0) -> list[dict[str, object]]:
    return [
        {
            "question": f"{number} {WORDS[number % 10]}, {WORDS[(number * 3 + shift) % 10]}?",
            "choices": [WORDS[(number + k) % 10] for k in range(3)],
            "gold": number % 3,
            "text": " ".join(WORDS[(number + k) % 10] for k in range(4 + 40 * number)),
        }
        for number in range(shift, shift + count)
    ]


@pytest.fixture(scope="module")
def folder(pico_model, tmp_path_factory) -> Path:
    """A tiny model with a chat template."""
    copy = tmp_path_factory.mktemp("chatty") / "model"
    shutil.copytree(pico_model(dtype="float32", initializer_range=0.3, max_position_embeddings=256), copy)
    tokenizer = AutoTokenizer.from_pretrained(copy)
    tokenizer.chat_template = CHAT
    tokenizer.save_pretrained(copy)
    return copy


@pytest.fixture(scope="module")
def yamls(tmp_path_factory) -> Path:
    """Tasks of every kind, and a group of two."""
    home = tmp_path_factory.mktemp("tasks")
    for split, count, shift in (("train", 20, 30), ("test", 8, 0)):
        (home / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(count, shift)))
    data = {
        "dataset_path": "json",
        "dataset_kwargs": {
            "data_files": {split: str(home / f"{split}.jsonl") for split in ("train", "test")},
            "cache_dir": str(home / "cache"),
        },
        "training_split": "train",
        "test_split": "test",
        "fewshot_split": "train",
    }
    asked = {"doc_to_text": "Q: {{question}}\nA:", "doc_to_target": "{{choices[gold]}}"}
    exact = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
    accuracy = [{"metric": m, "aggregation": "mean", "higher_is_better": True} for m in ("acc", "acc_norm")]
    several = [
        {"name": "first", "filter": [{"function": "take_first"}]},
        {"name": "letter", "filter": [{"function": "regex", "regex_pattern": "([a-z])"}, {"function": "take_first"}]},
    ]
    tasks = {
        "toy_choice": data
        | {
            "output_type": "multiple_choice",
            "doc_to_text": asked["doc_to_text"],
            "doc_to_choice": "choices",
            "doc_to_target": "gold",
            "metric_list": accuracy,
        },
        "toy_next": data
        | asked
        | {"output_type": "loglikelihood", "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}]},
        "toy_text": data
        | {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "text",
            "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
        },
        "toy_answer": data
        | asked
        | {
            "output_type": "generate_until",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 12, "do_sample": False},
            "filter_list": several,
            "metric_list": exact,
        },
    }
    for name, task in tasks.items():
        (home / f"{name}.yaml").write_text(yaml.safe_dump({"task": name} | task))
    group = {
        "group": "toys",
        "task": ["toy_choice", "toy_other"],
        "aggregate_metric_list": [{"metric": "acc", "weight_by_size": True}],
    }
    (home / "toys.yaml").write_text(yaml.safe_dump(group))
    (home / "toy_other.yaml").write_text(
        yaml.safe_dump({"task": "toy_other"} | tasks["toy_choice"] | {"test_split": "train", "num_fewshot": 1})
    )
    return home


def ours(folder, judge, spec, split="test"):
    """Scores by a worker, which asks for all that a task needs in one call of each kind."""
    from evomerge.inference.chat import ChatTemplate

    task = load_tasks([spec], judge, lambda: ChatTemplate(folder))[spec.name]
    worker = EvaluationWorker(HFBackend(folder, dtype="float32", batch_size=4), {spec.name: task}, judge)
    return worker.evaluate(Work("k", Artifact(str(folder)), split, (spec.name,))).items


def theirs(folder, yamls, name, **settings):
    model = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        batch_size=2,
    )
    manager = TaskManager(include_path=str(yamls), include_defaults=False)
    return simple_evaluate(model, tasks=[name], task_manager=manager, bootstrap_iters=0, log_samples=True, **settings)


@pytest.mark.parametrize("name", ["toy_choice", "toy_next", "toy_answer"])
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"num_fewshot": 2},
        {"num_fewshot": 2, "chat_template": True, "system_instruction": "Be brief."},
    ],
    ids=["plain", "few-shot", "chat"],
)
def test_the_same_numbers_as_simple_evaluate(folder, yamls, judge, name, given):
    scores = ours(folder, judge, TaskSpec("toy", str(yamls / f"{name}.yaml"), limit=6, **given))
    settings = {"apply_chat_template" if key == "chat_template" else key: value for key, value in given.items()}
    result = theirs(folder, yamls, name, limit=6, **settings)
    filters = [key.split(",")[1] for key in result["results"][name] if key.startswith(("acc,", "exact_match,"))]
    metric = "exact_match" if name == "toy_answer" else "acc"
    assert len(scores) == 6
    for place, chosen in enumerate(filters):
        samples = {str(s["doc_id"]): s for s in result["samples"][name] if s["filter"] == chosen}
        key = metric if place == 0 else f"{metric},{chosen}"
        assert {s.item: s.metrics[key] for s in scores} == {i: float(s[metric]) for i, s in samples.items()}
        if place == 0:
            assert scores_by_task(scores)["toy"].mean == pytest.approx(result["results"][name][f"{metric},{chosen}"])
    if name == "toy_answer":
        assert {s.item: s.answer for s in scores} == {i: s["resps"][0][0] for i, s in samples.items()}
        assert len({s.answer for s in scores}) > 3
    if name == "toy_choice":
        assert {s.item: s.metrics["acc_norm"] for s in scores} == {i: float(s["acc_norm"]) for i, s in samples.items()}


def test_texts_longer_than_the_context(folder, yamls, judge):
    spec = TaskSpec("toy", str(yamls / "toy_text.yaml"))
    scores = ours(folder, judge, spec)
    result = theirs(folder, yamls, "toy_text")["results"]["toy_text"]
    total, words, size = (sum(s.metrics[key] for s in scores) for key in ("loglikelihood", "words", "bytes"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert max(len(tokenizer(row["text"])["input_ids"]) for row in rows(8)) > 512, "some need three windows"
    assert math.exp(-total / words) == pytest.approx(result["word_perplexity,none"], rel=1e-4)
    assert -total / size / math.log(2) == pytest.approx(result["bits_per_byte,none"], rel=1e-4)
    first = scores[0]
    assert first.outcome == pytest.approx(math.exp(first.metrics["loglikelihood"] / first.metrics["bytes"]))
    backend = HFBackend(folder, dtype="float32", batch_size=4)
    manager = TaskManager(include_path=str(yamls), include_defaults=False)
    again = simple_evaluate(BackendLM(backend), tasks=["toy_text"], task_manager=manager, bootstrap_iters=0)
    assert again["results"]["toy_text"]["bits_per_byte,none"] == pytest.approx(result["bits_per_byte,none"], rel=1e-4)


def test_a_group_is_scored_over_all_its_items(folder, yamls, judge):
    scores = ours(folder, judge, TaskSpec("toys", str(yamls / "toys.yaml")))
    result = theirs(folder, yamls, "toys")
    assert len(scores) == 28
    assert {s.item.split("/")[0] for s in scores} == {"toy_choice", "toy_other"}
    assert scores_by_task(scores)["toys"].mean == pytest.approx(result["groups"]["toys"]["acc,none"])
    samples = {f"{n}/{s['doc_id']}": float(s["acc"]) for n in result["samples"] for s in result["samples"][n]}
    assert {s.item: s.outcome for s in scores} == samples


def test_search_and_selection_come_from_another_split_and_never_show_their_own_answer(yamls, judge):
    spec = TaskSpec("toy", str(yamls / "toy_choice.yaml"), num_fewshot=5)
    task = load_tasks([spec], judge)["toy"]
    split = {name: task.items(name) for name in ("search", "selection", "test")}
    assert [len(items) for items in split.values()] == [10, 10, 8]
    assert len({item.id for items in split.values() for item in items}) == 28
    for items in split.values():
        for item in items:
            question = f"Q: {item.document['question']}\n"
            assert item.prompt.count(question) == 1 and item.prompt.count("Q: ") == 6
    again = load_tasks([spec], judge)["toy"]
    assert again.items("search") == split["search"]


def test_twins_in_the_data_do_not_decide_what_search_and_selection_see(yamls, judge):
    """Every question stands beside its negation. Of every second item the search would see the one kind alone."""
    data = [{"question": f"{n // 2} is even", "choices": ["true", "false"], "gold": n % 2} for n in range(200)]
    for split in ("train", "test"):
        (yamls / f"twins_{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in data))
    task = yaml.safe_load((yamls / "toy_choice.yaml").read_text())
    files = {split: str(yamls / f"twins_{split}.jsonl") for split in ("train", "test")}
    task["dataset_kwargs"]["data_files"] = files
    names = ("twins_a", "twins_b")
    for name in names:
        (yamls / f"{name}.yaml").write_text(yaml.safe_dump(task | {"task": name}))
    (yamls / "twins.yaml").write_text(yaml.safe_dump({"group": "twins", "task": list(names)}))
    spec = TaskSpec("twins", str(yamls / "twins.yaml"))
    split = {name: load_tasks([spec], judge)["twins"].items(name) for name in ("search", "selection")}
    numbers = {}
    for name, items in split.items():
        for leaf in names:  # each subtask has its own halves
            own = [item for item in items if item.id.split("/")[1] == leaf]
            assert len(own) == 100
            share = sum(item.document["gold"] for item in own) / len(own)
            assert 0.35 < share < 0.65
            numbers[name, leaf] = [int(item.id.split("/")[2]) for item in own]
    for leaf in names:
        assert sorted(numbers["search", leaf] + numbers["selection", leaf]) == list(range(200))
    assert numbers["search", names[0]] != numbers["search", names[1]]
    few = load_tasks([TaskSpec("twins", str(yamls / "twins.yaml"), limit=10)], judge)["twins"].items("search")
    assert {item.id for item in few} < {item.id for item in split["search"]}


def test_the_metric_may_be_chosen(yamls, judge):
    path = str(yamls / "toy_choice.yaml")
    assert load_tasks([TaskSpec("toy", path, metric="acc_norm")], judge)["toy"].metric == "acc_norm"
    answers = str(yamls / "toy_answer.yaml")
    assert (
        load_tasks([TaskSpec("toy", answers, metric="exact_match,letter")], judge)["toy"].metric == "exact_match,letter"
    )
    with pytest.raises(UserError, match=r"tasks\.toy\.metric: no metric 'acc_nor': did you mean 'acc_norm'"):
        load_tasks([TaskSpec("toy", path, metric="acc_nor")], judge)


def test_settings_of_evomerges_own_tasks_are_refused(yamls, judge):
    path = str(yamls / "toy_choice.yaml")
    with pytest.raises(UserError, match=r"tasks\.toy\.data is for evomerge's own tasks"):
        load_tasks([TaskSpec("toy", path, data="x.jsonl")], judge)
    with pytest.raises(UserError, match=r"tasks\.toy wants chat prompts"):
        load_tasks([TaskSpec("toy", path, chat_template=True)], judge)


def test_a_yaml_file_in_tasks_without_a_scorer_is_a_plain_task(folder, yamls, judge, tmp_path, monkeypatch):
    (tmp_path / "toy_answer").mkdir()
    shutil.copy(yamls / "toy_answer.yaml", tmp_path / "toy_answer")
    monkeypatch.setattr("evomerge.evaluation.task_files.tasks_folder", lambda: tmp_path)
    with monkeypatch.context() as watched, Judge() as idle:
        watched.setattr(Judge, "level", property(lambda self: pytest.fail("no answer is judged")))
        by_name = ours(folder, idle, TaskSpec("toy", "toy_answer", limit=6))
    assert by_name == ours(folder, judge, TaskSpec("toy", str(yamls / "toy_answer.yaml"), limit=6))
    with pytest.raises(UserError, match="did you mean 'toy_answer'"):
        load_tasks([TaskSpec("toy", "toy_anser")], judge)


def task_yaml(path: Path, yamls: Path, **changes) -> str:
    path.write_text(yaml.safe_dump(yaml.safe_load((yamls / "toy_answer.yaml").read_text()) | changes))
    return str(path)


def test_metrics_from_the_hub_and_unsafe_code_are_refused_without_asking_the_hub(yamls, judge, tmp_path, monkeypatch):
    def reached(*_, **__):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("evaluate.load", reached)
    strange = task_yaml(tmp_path / "strange.yaml", yamls, metric_list=[{"metric": "code_eval", "aggregation": "mean"}])
    with pytest.raises(UserError, match=r"needs the metric 'code_eval' from the hub"):
        load_tasks([TaskSpec("toy", strange)], judge)
    unsafe = task_yaml(tmp_path / "unsafe.yaml", yamls, unsafe_code=True)
    with pytest.raises(UserError, match=r"runs model code outside the sandbox"):
        load_tasks([TaskSpec("toy", unsafe)], judge)
    with pytest.raises(UserError, match=r"loads the metric 'code_eval' from the hub"):
        load_leaves("humaneval", [])


def test_missing_data_is_the_users_error(yamls, judge, tmp_path):
    gone = task_yaml(tmp_path / "gone.yaml", yamls, dataset_path="nobody/has_this", dataset_kwargs={})
    with pytest.raises(UserError, match=r"cannot get its data .*where the hub can be reached"):
        load_tasks([TaskSpec("toy", gone)], judge)


def test_names_are_found_without_reading_all_tasks(monkeypatch):
    opened = []
    original = harness_index.TaskManager

    def manager(**settings):
        opened.append(settings)
        return original(**settings)

    monkeypatch.setattr(harness_index, "TaskManager", manager)
    monkeypatch.setattr(harness_index, "_load", lambda name, manager: {name: manager.task_index[name].yaml_path.name})
    assert load_leaves("gsm8k", []) == {"gsm8k": "gsm8k.yaml"}
    assert load_leaves("hellaswag", []) == {"hellaswag": "hellaswag.yaml"}
    assert [Path(given["include_path"]).name for given in opened] == ["gsm8k", "hellaswag"]
    assert harness_index.is_harness_name("arc_easy") and not harness_index.is_harness_name("arc_eazy")
