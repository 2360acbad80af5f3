"""Reopened runs: score any recipe on the run's tasks, and compare it with the winner."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge import Run
from evomerge.analysis.ablations import ablations, with_method, with_weights
from evomerge.analysis.recipe_scorer import Scorer
from evomerge.analysis.rescore import worker_spec_of
from evomerge.errors import UserError
from evomerge.evaluation.worker import build_worker
from evomerge.report.paired import RETENTION
from evomerge.report.results import WINNER
from evomerge.types import Expert, Recipe, Work

TASKS = {task: {"task": task, "expert": task, "limit": 3, "max_new_tokens": 12} for task in ("sql", "json")}


@pytest.fixture(scope="module")
def recipe(pico_model, pico_adapter) -> Recipe:
    experts = tuple(Expert(name, str(pico_adapter(n, size=0.1))) for n, name in enumerate(TASKS, start=1))
    return Recipe(str(pico_model()), experts, "core_tsv", ((0.5, 0.7), (0.9, 0.2)), dtype="float32")


@pytest.fixture(scope="module")
def run(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has not scored anything yet."""
    folder = tmp_path_factory.mktemp("run")
    models = {"base": recipe.base, "experts": {expert.name: expert.source for expert in recipe.experts}}
    settings = {"models": models, "tasks": TASKS, "backend": {"dtype": "float32"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return Run(folder)


def test_a_recipe_in_memory_is_the_one_on_disk(run: Run, recipe: Recipe, tmp_path: Path) -> None:
    model, tokenizer = run.materialize(recipe)
    folder = run.materialize(recipe, tmp_path / "merged")
    stored = AutoModelForCausalLM.from_pretrained(folder)
    tokens = tokenizer("SELECT name", return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(model(**tokens).logits, stored(**tokens).logits)
        base = AutoModelForCausalLM.from_pretrained(recipe.base)
        assert not torch.equal(model(**tokens).logits, base(**tokens).logits)
    assert AutoTokenizer.from_pretrained(folder)("SELECT").input_ids == tokenizer("SELECT").input_ids


def test_scores_are_those_of_a_worker(run: Run, recipe: Recipe) -> None:
    scored = run.score(recipe, "test")
    with build_worker(worker_spec_of(run.config, recipe.base, recipe.experts)) as worker:
        wanted = [i for task in TASKS for i in worker.evaluate(Work("x", recipe, "test", (task,))).items]
    assert list(scored.items) == wanted
    assert {task: score.items for task, score in scored.scores.items()} == {"sql": 3, "json": 3}


def test_experts_of_another_recipe_have_no_part_in_this_one(run: Run, recipe: Recipe) -> None:
    """In core space an expert that is merely loaded would change the basis."""
    alone = ablations(with_method(recipe, "core_ties", density=0.5))["without json"]
    run.score(recipe)
    assert run.score(alone).items == Run(run.folder).score(alone).items


def test_cache_needs_no_model(run: Run, recipe: Recipe, tmp_path: Path) -> None:
    own = replace(recipe, base=str(shutil.copytree(recipe.base, tmp_path / "base")))
    scored = run.score(own, limit=1, cache=tmp_path / "cache")
    assert {task: score.items for task, score in scored.scores.items()} == {"sql": 1, "json": 1}
    shutil.rmtree(own.base)
    again = Run(run.folder)
    assert again.score(own, limit=1, cache=tmp_path / "cache").items == scored.items
    with pytest.raises(UserError, match="base"):
        again.score(own, limit=2, cache=tmp_path / "cache")


def test_compare_scores_all_on_the_same_items(run: Run, recipe: Recipe) -> None:
    frame = run.compare({"base": with_weights(recipe, 0, 0), "same": recipe}, recipe)
    assert list(frame["model"]) == ["base", "base", "same", "same"]
    assert set(frame["task"]) == {"sql", "json"} and (frame["items"] == 3).all()
    assert (frame[frame["model"] == "same"]["difference"] == 0).all()
    with pytest.raises(UserError, match="no winner yet"):
        run.compare({"same": recipe})


def test_what_the_run_has_recorded_is_not_scored_again(finished: Path) -> None:
    """Its models do not exist."""
    run = Run(finished)
    assert run.winner is not None
    recorded = run.evaluation(run.winner, "test")
    assert run.score(run.winner.number, "test").items == tuple(i for task in run.tasks for i in recorded[task])
    uniform = run.anchor("uniform")
    assert uniform is not None
    frame = run.compare({"uniform": uniform.number}).set_index("task")
    rows = {row.label: row for row in run.results.rows}
    gap = rows["uniform"].scores["sql"].mean - rows[WINNER].scores["sql"].mean
    assert frame.loc["sql", "difference"] == pytest.approx(gap)
    kept = rows["uniform"].retention, rows[WINNER].retention
    assert kept[0] is not None and kept[1] is not None
    assert frame.loc[RETENTION, "difference"] == pytest.approx(kept[0].mean - kept[1].mean)


def test_prompts_and_unknown_tasks(run: Run, recipe: Recipe) -> None:
    with Scorer(worker_spec_of(run.config, recipe.base, ())) as scorer:
        prompts = scorer.prompts("search")
        assert {task: len(own) for task, own in prompts.items()} == {"sql": 3, "json": 3}
        assert all("CREATE TABLE" in prompt for prompt in prompts["sql"].values())
        with pytest.raises(UserError, match="did you mean 'sql'"):
            scorer.score(recipe, tasks=["sqll"])
