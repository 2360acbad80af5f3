"""``job=space`` prints what a search would choose from, and starts no search."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_evomerge import evomerge

from evomerge.jobs.space import described
from evomerge.recipes.space import SearchSpace
from evomerge.types import Expert


@pytest.fixture
def models(pico_model, pico_adapter) -> list[str]:
    return [
        f"models.base={pico_model()}", "models.experts={}", f"+models.experts.sql={pico_adapter(seed=1)}",
        f"+models.experts.json={pico_adapter(seed=2)}",
    ]  # fmt: skip


def test_it_names_dimensions_anchors_and_size(models: list[str], tmp_path: Path) -> None:
    result = evomerge("job=space", *models, "space.layer_groups=2", "space.methods=[ties,core_tsv]", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "2 experts (sql, json), 2 layers in 2 groups"
    names = [line.split()[0] for line in lines[2 : lines.index("", 2)]]
    assert names == [
        "method", "profile", "weight.g0.sql", "weight.g0.json", "weight.g1.sql", "weight.g1.json", "density.sql",
        "density.json", "scale",
    ]  # fmt: skip
    assert "weight.g0.sql   0 to 1.5, in steps of 0.001" in lines
    told = lines[lines.index("", 2) + 1 :]
    assert told[0] == "7 anchors, which every search scores first:"
    assert "  ties 0.5     ties: sql 1, json 1; density 0.5" in told and told[-1].startswith("9 dimensions, about 10^")
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_without_a_learned_start_there_is_no_profile(models: list[str], tmp_path: Path) -> None:
    result = evomerge("job=space", *models, "search.learned=false", folder=tmp_path)
    assert result.returncode == 0 and "profile" not in result.stdout and "learned" not in result.stdout


def test_wrong_input_is_refused(models: list[str], tmp_path: Path) -> None:
    result = evomerge("job=space", *models, "space.layer_groups=3", folder=tmp_path)
    assert result.returncode == 2 and "must be at most 2, the layers of" in result.stderr
    result = evomerge("job=space", models[0], "models.experts={}", folder=tmp_path)
    assert result.returncode == 2 and "a space needs experts" in result.stderr


def test_the_size_is_that_of_the_grid() -> None:
    space = SearchSpace("base", (Expert("a", "a"),), ("task_arithmetic",), weight_range=(0.0, 0.999))
    assert described(space, 4, ())[-1].endswith("about 10^3 recipes"), "1000 weights"
