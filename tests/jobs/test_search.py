"""The search job on tiny models through Ray, killed and resumed; its outputs equal its measurements."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from run_evomerge import ENVIRONMENT, command, evomerge, heed_interrupts
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.inference.device import default_dtype
from evomerge.recipes.recipe_yaml import load
from evomerge.search.store import Store

BUDGET = 8
CONTRACT = [
    "config.yaml", "environment.json", "study.journal", "trials.parquet", "items.parquet", "pareto.csv", "pareto.json",
    "recipes", "report.html", "figures", "best/recipe.yaml", "best/scores.json", "best/model", "best/lora",
    "best/model/README.md", "best/lora/README.md", "tensorboard",
]  # fmt: skip


@pytest.fixture(scope="module")
def own_expert(pico_adapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy that a test may train again."""
    return Path(shutil.copytree(pico_adapter(3), tmp_path_factory.mktemp("own") / "json"))


@pytest.fixture(scope="module")
def arguments(pico_model, pico_adapter, own_expert: Path) -> list[str]:
    experts = {"sql": pico_adapter(1), "code": pico_adapter(2), "json": own_expert}
    return [
        "name=x",
        f"search.budget={BUDGET}",
        f"models.base={pico_model()}",
        *(f"models.experts.{name}={folder}" for name, folder in experts.items()),
        *(f"tasks.{task}.limit=3" for task in ("sql", "code", "json")),
        "space.layer_groups=2",
        "cluster.workers=2",
        "cluster.threads=1",
        "tracking=tensorboard",
    ]


@pytest.fixture(scope="module")
def finished(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed with -9 half way and started again; the folder it was started in."""
    folder = tmp_path_factory.mktemp("search")
    driver = subprocess.Popen(command(*arguments), cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while len(Store(folder / "outputs" / "x").trials()) < BUDGET // 2:
            assert driver.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    assert len(Store(folder / "outputs" / "x").trials()) < BUDGET, "it was over before it was killed"
    result = evomerge(*arguments, folder=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "finished before" in result.stdout
    return folder


def test_ctrl_c_keeps_everything_finished(arguments: list[str], tmp_path: Path) -> None:
    driver = subprocess.Popen(
        command(*arguments),
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,
    )
    deadline = time.monotonic() + 300
    while not Store(tmp_path / "outputs" / "x").trials():
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.2)
    driver.send_signal(signal.SIGINT)
    _, said = driver.communicate(timeout=120)
    assert driver.returncode == 130
    sandbox, *rest = said.strip().splitlines()
    assert sandbox.startswith("answers are judged in a sandbox: ")
    assert rest[0].startswith("no learned weights: no expert gave a right answer to a search item of its task")
    assert rest[1:] == ["evomerge: interrupted: finished work is kept; run the same command to resume"]
    assert Store(tmp_path / "outputs" / "x").trials()


def test_every_trial_is_finished_and_no_recipe_scored_twice(finished: Path) -> None:
    trials = Store(finished / "outputs" / "x").trials()
    assert len(trials) == BUDGET
    assert not [trial.error for trial in trials if trial.error]
    assert len({trial.recipe.fingerprint for trial in trials}) == BUDGET


def test_run_folder_is_whole(finished: Path) -> None:
    run = finished / "outputs" / "x"
    assert [name for name in CONTRACT if not (run / name).exists()] == []
    assert yaml.safe_load((run / "config.yaml").read_text())["backend"]["dtype"] == default_dtype("cpu")
    assert len(pd.read_parquet(run / "trials.parquet")) == BUDGET
    assert len(pd.read_parquet(run / "items.parquet")) == BUDGET * 9
    front = pd.read_csv(run / "pareto.csv")
    assert sorted(int(path.stem) for path in (run / "recipes").glob("*.yaml")) == sorted(front["number"])


def test_trackers_know_each_trial_once(finished: Path) -> None:
    """Although the first run was killed."""
    run = finished / "outputs" / "x"
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    assert [event.step for event in events.Scalars("search/trial")] == list(range(1, BUDGET + 1))
    assert {int(event.value) for event in events.Scalars("search/trial")} == {t.number for t in Store(run).trials()}


def test_cards_name_the_parents_and_what_was_measured(finished: Path) -> None:
    best = finished / "outputs" / "x" / "best"
    for kind, library in (("model", "transformers"), ("lora", "peft")):
        card = ModelCard.load(best / kind / "README.md")
        assert card.data.library_name == library and card.data.license == "other"  # tiny models state none
        measured = {result.dataset_type: result.metric_value for result in card.data.eval_results}
        shipped = json.loads((best / "scores.json").read_text())[kind]
        assert measured == {task: round(score["mean"], 4) for task, score in shipped.items()}


def test_same_command_again_changes_nothing(finished: Path, arguments: list[str]) -> None:
    run = finished / "outputs" / "x"
    trials = Store(run).trials()
    before = {name: (run / name).read_bytes() for name in ("best/scores.json", "best/recipe.yaml", "evaluations.jsonl")}
    assert evomerge(*arguments, folder=finished).returncode == 0
    assert Store(run).trials() == trials
    assert {name: (run / name).read_bytes() for name in before} == before


def test_other_experts_in_the_same_folder_are_refused(finished: Path, arguments: list[str], pico_adapter) -> None:
    result = evomerge(*arguments, f"models.experts.sql={pico_adapter(9)}", folder=finished)
    assert result.returncode == 2
    assert "choose another name=" in result.stderr


def test_an_expert_trained_again_in_its_folder_is_refused(
    finished: Path, arguments: list[str], own_expert: Path, pico_adapter
) -> None:
    before = (finished / "outputs" / "x" / "config.yaml").stat().st_mtime_ns
    shutil.copytree(pico_adapter(9), own_expert, dirs_exist_ok=True)
    try:
        result = evomerge(*arguments, folder=finished)
    finally:
        shutil.copytree(pico_adapter(3), own_expert, dirs_exist_ok=True)
    assert result.returncode == 2
    *_, said = result.stderr.strip().splitlines()
    assert "other contents of models.experts.json" in said and "choose another name=, or delete the folder" in said
    assert (finished / "outputs" / "x" / "config.yaml").stat().st_mtime_ns == before


def test_winner_loads_with_plain_transformers_and_peft(finished: Path) -> None:
    best = finished / "outputs" / "x" / "best"
    recipe = load(best / "recipe.yaml")
    merged = AutoModelForCausalLM.from_pretrained(best / "model")
    assert str(merged.dtype).removeprefix("torch.") == recipe.dtype == "bfloat16", "as the base is stored"
    tokens = AutoTokenizer.from_pretrained(best / "model")("SELECT", return_tensors="pt")
    base = AutoModelForCausalLM.from_pretrained(recipe.base)
    adapted = PeftModel.from_pretrained(base, best / "lora")
    with torch.inference_mode():
        assert torch.isfinite(merged(**tokens).logits).all()
        assert torch.isfinite(adapted(**tokens).logits).all()


@pytest.mark.parametrize("kind", ["model", "lora"])
def test_shipped_scores_are_found_again(finished: Path, kind: str) -> None:
    best = finished / "outputs" / "x" / "best"
    base = load(best / "recipe.yaml").base
    what = [f"model={best / 'model'}"] if kind == "model" else [f"model={base}", f"adapter={best / 'lora'}"]
    limits = ["cluster.threads=1", *(f"tasks.{task}.limit=3" for task in ("sql", "code", "json"))]
    result = evomerge("job=evaluate", *what, "tasks=[sql,code,json]", *limits, "out=again.json", folder=finished)
    assert result.returncode == 0, result.stderr
    assert json.loads((finished / "again.json").read_text()) == json.loads((best / "scores.json").read_text())[kind]


def test_recipe_of_the_winner_merges_to_the_shipped_model(finished: Path) -> None:
    best = finished / "outputs" / "x" / "best"
    result = evomerge("job=merge", f"recipe={best / 'recipe.yaml'}", "out=merged", folder=finished)
    assert result.returncode == 0, result.stderr
    assert (finished / "merged/model.safetensors").read_bytes() == (best / "model/model.safetensors").read_bytes()


def test_adapter_extracted_from_the_winner(finished: Path) -> None:
    best = finished / "outputs" / "x" / "best"
    base = load(best / "recipe.yaml").base
    result = evomerge(
        "job=extract_lora", f"base={base}", f"model={best / 'model'}", "out=extracted", "rank=12", folder=finished
    )
    if load(best / "recipe.yaml").weights[0] == (0.0, 0.0, 0.0):
        assert result.returncode == 2 and "does not differ" in result.stderr
    else:
        assert result.returncode == 0, result.stderr
        assert (finished / "extracted/adapter_model.safetensors").is_file()
