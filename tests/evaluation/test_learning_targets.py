"""Targets come from search items alone, and gold answers are what lm-eval's few-shot examples show."""

from __future__ import annotations

import json

import pytest
import yaml

from evomerge.evaluation.learning_targets import given_answers, gold_answers
from evomerge.evaluation.task_settings import task_settings
from evomerge.evaluation.tasks import load_tasks
from evomerge.types import ItemScore

NAMES = ("sql", "python_basics", "json")


@pytest.fixture(scope="module")
def tasks(judge):
    return load_tasks([task_settings(name, {"task": name}) for name in NAMES], judge)


def test_answers_to_items_of_other_splits_are_no_targets(tasks):
    for split in ("selection", "test"):
        item = tasks["sql"].items(split)[0]
        with pytest.raises(KeyError):
            given_answers(tasks, [ItemScore("sql", item.id, 1.0, " SELECT 1")])


def test_given_answers_follow_their_prompts(tasks):
    item = tasks["sql"].items("search")[3]
    long = {"tokens": float(item.max_new_tokens)}
    ended, whole = given_answers(
        tasks, [ItemScore("sql", item.id, 1.0, " SELECT 1", {"tokens": 5.0}), ItemScore("sql", item.id, 1.0, "x", long)]
    )
    assert (ended.task, ended.prompt, ended.answer, ended.until) == ("sql", item.prompt, " SELECT 1", item.until)
    assert ended.ends and not whole.ends, "an answer that took all its tokens may have gone on"


@pytest.mark.parametrize("name", NAMES)
def test_gold_answers_are_right_answers_to_all_search_items(tasks, name):
    items = tasks[name].items("search")
    targets = gold_answers(tasks, [name])
    assert [target.prompt for target in targets] == [item.prompt for item in items]
    assert all(target.ends for target in targets)
    some = slice(0, 12)
    scores = tasks[name].score(items[some], [target.answer for target in targets[some]])
    assert [score.outcome for score in scores] == [1.0] * 12


@pytest.fixture(scope="module")
def harness(tmp_path_factory, judge):
    """Tasks of lm-eval's kinds: choices, a text to generate, a text to be likely."""
    folder = tmp_path_factory.mktemp("harness")
    rows = [{"q": f"{n}?", "choices": [f"a{n}", f"b{n}"], "gold": n % 2, "text": f"text {n}"} for n in range(12)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"train": str(folder / "rows.jsonl"), "test": str(folder / "rows.jsonl")}},
        "training_split": "train", "test_split": "test", "doc_to_text": "{{q}}", "metadata": {"version": 1},
    }  # fmt: skip
    kinds = {
        "choosing": {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "gold"},
        "writing": {
            "output_type": "generate_until", "doc_to_target": "{{text}}", "target_delimiter": " ",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
            "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
        },
        "rolling": {
            "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
            "metric_list": [{"metric": "bits_per_byte"}],
        },
    }  # fmt: skip
    names = {}
    for name, own in kinds.items():
        path = folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump({"task": name, **common, **own}))
        names[name] = str(path)
    return load_tasks([task_settings(name, {"task": path}) for name, path in names.items()], judge)


def test_gold_of_lm_evals_tasks(harness):
    choosing, writing = harness["choosing"].items("search"), harness["writing"].items("search")
    chosen = gold_answers(harness, ["choosing"])
    assert [(t.prompt, t.answer) for t in chosen] == [i.pairs[i.document["gold"]] for i in choosing]
    assert not any(t.ends for t in chosen)
    written = gold_answers(harness, ["writing"])
    assert [t.answer for t in written] == [f" {i.document['text']}" for i in writing] and all(t.ends for t in written)
    assert gold_answers(harness, ["rolling"]) == []


def test_the_choice_that_was_right_is_a_target(harness):
    item = harness["choosing"].items("search")[1]
    right = item.pairs[1]
    (found,) = given_answers(harness, [ItemScore("choosing", item.id, 1.0, right[1])])
    assert (found.prompt, found.answer, found.ends) == (*right, False)
