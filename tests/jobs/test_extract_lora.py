"""The command line of extraction: messages, refusals, and quality of the files."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from run_evomerge import evomerge

from evomerge.weights.adapters.adapter import Adapter

RECIPE = """\
base: {base}
method: task_arithmetic
experts:
  - {{name: one, model: {one}, weight: 0.7}}
  - {{name: two, model: {two}, weight: 0.6}}
"""


@pytest.fixture
def recipe(tmp_path, pico_model, pico_adapter):
    text = RECIPE.format(base=pico_model(), one=pico_adapter(seed=1), two=pico_adapter(seed=2))
    (tmp_path / "recipe.yaml").write_text(text)
    return "recipe=recipe.yaml"


def test_an_adapter_by_budget_and_what_it_says(tmp_path, pico_model, pico_adapter):
    result = evomerge(
        "job=extract_lora",
        f"base={pico_model()}",
        f"model={pico_adapter()}",
        "out=lora",
        "parameters=2e3",
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "lora" / "extraction.json").read_text())
    assert report["total"]["parameters"] <= 2000
    assert f"relative error {report['total']['relative_error']:.4f}" in result.stdout
    assert f"{report['total']['parameters']:,} parameters" in result.stdout
    assert len(Adapter(tmp_path / "lora").factors) == sum(p["rank"] > 0 for p in report["parts"].values())


def test_what_a_full_fine_tune_loses_is_said(tmp_path, pico_model, recipe):
    assert evomerge("job=merge", recipe, "out=merged", folder=tmp_path).returncode == 0
    base = pico_model()
    result = evomerge("job=extract_lora", f"base={base}", "model=merged", "out=lora", "rank=8", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "rank 8 adapter written to lora" in result.stdout
    again = evomerge("job=extract_lora", f"base={base}", f"model={base}", "out=none", folder=tmp_path)
    assert again.returncode == 2 and "does not differ from its base" in again.stderr
    other = evomerge("job=extract_lora", f"base={pico_model(seed=5)}", "model=merged", "out=none", folder=tmp_path)
    assert other.returncode == 2 and "nothing in common" in other.stderr
    assert not (tmp_path / "none").exists()


def test_the_rank_curve_of_a_recipe(tmp_path, recipe):
    result = evomerge(
        "job=extract_lora",
        recipe,
        "out=curve",
        "ranks=[2,8]",
        "tasks=[json]",
        "tasks.json.limit=2",
        "tasks.json.max_new_tokens=4",
        "cluster=serial",
        "split=search",
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    kept = pd.read_csv(tmp_path / "curve" / "rank_curve.csv")
    assert list(kept["name"]) == ["base", "rank 2", "rank 2 compressed", "rank 8", "model"]
    errors = kept.set_index("name")["relative_error"]
    assert errors["rank 8"] < 1e-3 < errors["rank 2"] <= errors["rank 2 compressed"]
    assert (tmp_path / "curve" / "rank_curve.png").is_file()
    assert {p.name for p in (tmp_path / "curve").glob("rank-*")} == {"rank-002", "rank-002-compressed", "rank-008"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["base=x", "model=y"], "job=extract_lora needs out="),
        (["out=x"], "job=extract_lora needs base="),
        (["out=x", "energy=2"], "energy must be in (0, 1], got 2"),
        (["out=x", "recipe=recipe.yaml", "model=y"], "leave out base= and model="),
        (["out=x", "model=y", "base=z", "extract.compress=true"], "give recipe=FILE"),
        (["out=x", "recipe=recipe.yaml", "ranks=[2]", "energy=0.9"], "leave out energy="),
        (["out=x", "recipe=recipe.yaml", "ranks=[2]", "rank=4"], "leave out rank="),
        (["out=x", "recipe=recipe.yaml", "rank=8", "energy=0.9"], "rank and energy each decide the ranks: give one of"),
        (["out=x", "recipe=recipe.yaml", "parameters=2e6", "energy=0.9"], "energy and parameters each decide"),
    ],
)
def test_what_cannot_be(arguments, said, tmp_path, recipe):
    result = evomerge("job=extract_lora", *arguments, folder=tmp_path)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
