"""Scores of a model on several tasks, one of which cannot be scored."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from run_evomerge import evomerge

from evomerge.inference.device import default_dtype


def test_a_task_that_fails_keeps_no_others_scores_back(tmp_path: Path, pico_model) -> None:
    """HumanEval has test items only."""
    tasks = ["tasks=[humaneval,sql]", "tasks.sql.limit=2", "split=search"]
    result = evomerge("job=evaluate", f"model={pico_model()}", *tasks, "out=scores.json", folder=tmp_path)
    assert result.returncode == 2
    *_, said = result.stderr.strip().splitlines()
    assert "could not be scored: humaneval: " in said and "has no search items" in said
    assert json.loads((tmp_path / "scores.json").read_text()).keys() == {"sql"}
    assert f"search items, computed in {default_dtype('cpu')}" in " ".join(result.stdout.split())
    assert "answers were judged in a sandbox" in result.stdout


def test_a_sandbox_is_named_only_where_it_judged(tmp_path: Path, pico_model) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"q": f"{n}?", "a": f"{n}"}) + "\n" for n in range(2)))
    task = {
        "task": "plain",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(tmp_path / "rows.jsonl")}, "cache_dir": str(tmp_path / "cache")},
        "test_split": "test",
        "output_type": "generate_until",
        "generation_kwargs": {"max_gen_toks": 4, "until": ["."]},
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }
    (tmp_path / "plain.yaml").write_text(yaml.safe_dump(task))
    result = evomerge("job=evaluate", f"model={pico_model()}", "tasks=[plain.yaml]", "cluster=serial", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "plain" in result.stdout and "sandbox" not in result.stdout + result.stderr


def test_verdicts_that_an_answer_could_forge_are_counted(tmp_path: Path, pico_model) -> None:
    code = "class Node:\n    x = 1\ndef f{0}():\n    return Node()"
    rows = [{"text": "Go.", "code": code.format(n), "test_list": [f"assert f{n}().x == 1"]} for n in range(5)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tasks = ["tasks=[mbpp]", "tasks.mbpp.data=rows.jsonl", "tasks.mbpp.max_new_tokens=4", "cluster=serial"]
    result = evomerge("job=evaluate", f"model={pico_model()}", *tasks, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    said = " ".join(result.stdout.split())
    assert "mbpp: 2 of 2 answers were judged in one process with their tests, which trusts them not to forge" in said
