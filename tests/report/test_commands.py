"""Commands that the report offers to copy run when pasted, for any place of the run folder."""

from __future__ import annotations

import ast
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from evomerge.command_line.compose import compose
from evomerge.command_line.overrides import read
from evomerge.command_line.schema import job_settings
from evomerge.report.commands import commands, listed, of_candidate, rebuild, setting
from evomerge.report.compare import comparison
from evomerge.report.delivery import run_card
from evomerge.report.run_data import RunData
from evomerge.report.tables import recipe_file

NAMES = ["a b", "a=b, (c)", 'it\'s "x"', "$HOME ${name} `id`", "-x", "[a]", "ünï\\", "a;b&c|d>e*?#!"]


def typed(command: str) -> Any:
    """What evomerge understands of a line that a person pastes into a shell."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "evomerge"]
    return job_settings(compose(read(words[3:])[1]))


@pytest.fixture(params=NAMES[1:6:2] + NAMES[2:3])
def run(request: pytest.FixtureRequest, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunData:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished, tmp_path / request.param)
    config = yaml.safe_load((finished / "config.yaml").read_text()) | {"name": request.param}
    config["tasks"]["sql"] |= {"limit": 7, "data": "/data/my rows.jsonl", "compare": "bag"}
    config["tasks"]["code"] |= {"samples": 4, "k": [1, 4]}
    config["backend"] = {"dtype": "float32"}
    (tmp_path / request.param / "config.yaml").write_text(yaml.safe_dump(config))
    return RunData(tmp_path / request.param)


def test_every_command_names_the_folder_as_it_is(run: RunData) -> None:
    texts = {entry["tab"]: entry["text"] for entry in commands(run)}
    assert same(typed(texts["merge again"]).recipe, run.folder / "best" / "recipe.yaml")
    again = typed(texts["score again"])
    assert same(again.model, run.folder / "best" / "model") and list(again.tasks) == list(run.tasks)
    assert (again.tasks["sql"]["limit"], again.tasks["sql"]["data"]) == (7, "/data/my rows.jsonl")
    assert (again.tasks["code"]["samples"], again.tasks["code"]["k"]) == (4, [1, 4])
    assert again.backend.dtype == "float32"
    assert "compare" not in texts["score again"], "a default needs no word"
    assert same(typed(rebuild(run)).run, run.folder)
    for tab, kind in (("transformers", "model"), ("peft", "lora")):
        named = [node.value for node in ast.walk(ast.parse(texts[tab])) if isinstance(node, ast.Constant)]
        assert any(same(value, run.folder / "best" / kind) for value in named)
    assert same(shlex.split(texts["vLLM"])[2], run.folder / "best" / "model")


def test_candidates_are_made_from_their_file_or_from_python(run: RunData) -> None:
    front = run.front_trials[0].number
    assert same(typed(of_candidate(run, front, recipe_file(front))).recipe, run.folder / recipe_file(front))
    python, option, line = shlex.split(of_candidate(run, 12, None))
    named = [node.value for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Constant)]
    assert (python, option) == ("python", "-c") and 12 in named and any(same(value, run.folder) for value in named)


def test_the_card_names_the_run_but_no_folder_of_this_machine(run: RunData) -> None:
    text = run_card(run, "model")
    line = next(line for line in text.splitlines() if line.startswith("| command |"))
    command = line.removeprefix("| command | `").removesuffix("` |").replace("&#124;", "|")
    assert typed(command).name == run.name and typed(command).tasks["sql"]["data"] == "my rows.jsonl"
    assert f"from_pretrained({json.dumps(f'outputs/{run.name}/best/model', ensure_ascii=False)}" in text


def test_the_comparison_is_rebuilt_from_both(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [tmp_path / "it's, one", tmp_path / "[two] \\"]
    for folder in folders:
        shutil.copytree(finished, folder)
    asked = typed(comparison([RunData(folder) for folder in folders])["rebuild"]).run
    assert all(same(own, folder) for own, folder in zip(asked, folders, strict=True))


@pytest.mark.parametrize("text", [*NAMES, "null", "\\'", "a\\\\'b\\", "'"])
def test_text_goes_through_shell_and_hydra(text: str) -> None:
    latency = typed("python -m evomerge job=latency model=m base=b " + listed("adapters", [text, "b"]))
    assert latency.adapters == [text, "b"]
    assert typed("python -m evomerge " + setting("models.experts.sql", f"/{text}")).models.experts["sql"] == f"/{text}"


def same(given: Any, path: Path) -> bool:
    return isinstance(given, str) and Path(given).resolve() == path.resolve()
