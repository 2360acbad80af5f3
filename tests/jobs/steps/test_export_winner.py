"""Choice of the exported adapter of a smaller rank, and when it is written again."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from run_evomerge import evomerge

from evomerge.engine.load_merger import recipe_merger
from evomerge.errors import UserError
from evomerge.jobs.steps.export_winner import export_winner
from evomerge.types import Artifact, Expert, Recipe
from evomerge.weights.adapters.adapter import Adapter

RANK = 3


@pytest.fixture
def recipe(pico_model, pico_adapter) -> Recipe:
    experts = tuple(Expert(f"e{seed}", str(pico_adapter(seed=seed))) for seed in (1, 2))
    return Recipe(
        base=str(pico_model()), experts=experts, method="core_task_arithmetic", weights=((0.8, 0.6),), dtype="bfloat16"
    )


def choosing(how: str, asked: list[Mapping[str, Artifact]]) -> Callable[[Mapping[str, Artifact]], str]:
    def better(adapters: Mapping[str, Artifact]) -> str:
        for artifact in adapters.values():
            assert artifact.adapter is not None
            assert {factor.rank for factor in Adapter(artifact.adapter).factors.values()} == {RANK}
        asked.append(adapters)
        return how

    return better


def delta(folder: Path) -> torch.Tensor:
    return torch.cat([factor.dense().flatten() for factor in Adapter(folder).factors.values()])


def about(folder: Path) -> dict[str, object]:
    return json.loads((folder / "lora.json").read_text())


def test_the_better_one_stays(recipe: Recipe, tmp_path: Path) -> None:
    kept, asked = {}, []
    for how in ("truncated", "compressed"):
        model, lora = export_winner(recipe_merger(recipe), recipe, tmp_path / how, RANK, choosing(how, asked))
        assert set(asked[-1]) == {"truncated", "compressed"}
        assert lora.adapter == str((tmp_path / how / "lora").resolve())
        assert Path(model.model).is_dir()
        assert about(tmp_path / how)["how"] == how and about(tmp_path / how)["rank"] == RANK
        assert {path.name for path in (tmp_path / how).iterdir()} == {"model", "lora", "lora.json", "recipe.yaml"}
        kept[how] = delta(tmp_path / how / "lora")
    assert not torch.equal(kept["truncated"], kept["compressed"])
    assert about(tmp_path / "truncated")["relative_error"] < about(tmp_path / "compressed")["relative_error"]


def test_written_again_for_another_rank_only(recipe: Recipe, tmp_path: Path) -> None:
    asked: list[Mapping[str, Artifact]] = []
    merger, better = recipe_merger(recipe), choosing("truncated", asked)
    export_winner(merger, recipe, tmp_path / "best", None, better)
    assert about(tmp_path / "best")["how"] == "exact" and asked == []
    for _ in range(2):
        export_winner(merger, recipe, tmp_path / "best", RANK, better)
        assert len(asked) == 1
    export_winner(merger, recipe, tmp_path / "best", 64, better)
    assert about(tmp_path / "best")["how"] == "exact" and len(asked) == 1


def test_a_failure_leaves_no_recipe_that_stands_for_the_folder(recipe: Recipe, tmp_path: Path) -> None:
    def fails(adapters: Mapping[str, Artifact]) -> str:
        raise UserError("no score")

    with pytest.raises(UserError):
        export_winner(recipe_merger(recipe), recipe, tmp_path / "best", RANK, fails)
    assert not (tmp_path / "best" / "recipe.yaml").exists()
    export_winner(recipe_merger(recipe), recipe, tmp_path / "best", RANK, choosing("compressed", []))
    assert {path.name for path in (tmp_path / "best").iterdir()} == {"model", "lora", "lora.json", "recipe.yaml"}


def test_what_a_killed_run_left_between_goes(recipe: Recipe, tmp_path: Path) -> None:
    for how in ("truncated", "compressed"):
        (tmp_path / "best" / f"lora-{how}" / "x").mkdir(parents=True)
    export_winner(recipe_merger(recipe), recipe, tmp_path / "best", None, choosing("truncated", []))
    assert {path.name for path in (tmp_path / "best").iterdir()} == {"model", "lora", "lora.json", "recipe.yaml"}


def test_an_expert_that_was_the_winner_of_this_very_run_is_not_replaced(recipe: Recipe, tmp_path: Path) -> None:
    export_winner(recipe_merger(recipe), recipe, tmp_path / "best", None, choosing("truncated", []))
    before = delta(tmp_path / "best" / "lora")
    again = replace(recipe, experts=(Expert("e1", str(tmp_path / "best" / "lora")), recipe.experts[1]))
    with pytest.raises(UserError, match=r"lora: .* is read for it"):
        export_winner(recipe_merger(again), again, tmp_path / "best", None, choosing("truncated", []))
    assert torch.equal(delta(tmp_path / "best" / "lora"), before)


def test_a_search_asks_the_selection_items(pico_model, pico_adapter, tmp_path: Path) -> None:
    arguments = [
        f"models.base={pico_model()}", "models.experts={}", f"+models.experts.json={pico_adapter(seed=1)}",
        f"+models.experts.other={pico_adapter(seed=2)}", "tasks=[json]", "tasks.json.limit=2",
        "tasks.json.max_new_tokens=4", "space.methods=[core_task_arithmetic]", "search=random", "search.budget=3",
        "cluster=serial", "name=x", "rank=2",
    ]  # fmt: skip
    result = evomerge(*arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr
    run = tmp_path / "outputs" / "x"
    how = about(run / "best")["how"]
    assert how in ("truncated", "compressed") and about(run / "best")["rank"] == 2
    lines = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    keys = {(line["fingerprint"].partition("+")[2], line["split"]) for line in lines if "+" in line["fingerprint"]}
    chosen = {("lora2-truncated", "selection"), ("lora2-compressed", "selection")}
    assert keys == chosen | {("lora2", "test"), ("random", "test")}
