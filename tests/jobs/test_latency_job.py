"""The command line of latency: output, files and refusals."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from run_evomerge import evomerge

from evomerge.errors import UserError
from evomerge.inference.backend_settings import BackendSettings
from evomerge.inference.serving.latency_settings import LatencySettings
from evomerge.jobs.latency import Settings, run
from evomerge.jobs.steps.measure_latency import measure_winner
from evomerge.types import Expert, Recipe

QUICK = ("latency.batch_sizes=[1,2]", "latency.prompt_tokens=4", "latency.new_tokens=2", "latency.rounds=1")


def test_a_model_beside_its_base_with_adapters(tmp_path, pico_model, pico_adapter):
    adapters = f"adapters=[{pico_adapter(seed=1)},{pico_adapter(seed=2)}]"
    result = evomerge(
        "job=latency", f"model={pico_model(seed=3)}", f"base={pico_model()}", adapters, "out=kept.json", *QUICK,
        folder=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    kept = json.loads((tmp_path / "kept.json").read_text())
    assert [(row["batch"], row["way"]) for row in kept["rows"]] == [
        (batch, way) for batch in (1, 2) for way in ("one model", "switching", "mixed batch")
    ]
    assert [name.startswith("base + ") for name in kept["sizes"]] == [False, True]
    for name, size in kept["sizes"].items():
        assert name in result.stdout and f"{size['parameters']:,}" in result.stdout
        assert size["peak_memory_bytes"] > size["disk_bytes"] > 0


def test_a_searchs_winner_is_measured_once(tmp_path, pico_model, pico_adapter):
    experts = tuple(Expert(f"v1.{seed}", str(pico_adapter(seed=seed))) for seed in (1, 2))
    recipe = Recipe(str(pico_model()), experts, "task_arithmetic", ((0.5, 0.5),))
    folder = tmp_path / "run"
    shutil.copytree(pico_model(seed=3), folder / "best" / "model")
    asked = LatencySettings(batch_sizes=[1], prompt_tokens=4, new_tokens=2, rounds=1, measure=True), BackendSettings()
    measure_winner(*asked, folder, recipe)
    kept = folder / "best" / "latency.json"
    first = kept.read_text()
    rows = {(row["name"], row["way"]) for row in json.loads(first)["rows"]}
    assert rows == {
        ("best/model", "one model"), ("base + v1.1, v1.2", "switching"), ("base + v1.1, v1.2", "mixed batch"),
    }  # fmt: skip
    measure_winner(*asked, folder, recipe)
    assert kept.read_text() == first, "the same command goes on where it was"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "job=latency needs model=DIR or run=DIR, for example run="),
        ({"model": "x", "base": "x"}, "give both base=... and adapters=[...]"),
        ({"model": "x", "adapters": ["x"]}, "give both base=... and adapters=[...]"),
        ({"run": "x", "model": "x"}, "leave out model="),
        ({"run": ["x", "y"]}, "takes one run, got 2"),
        ({"run": "nowhere"}, "there is no run folder nowhere: give one, for example run="),
        ({"model": "nowhere"}, "no model 'nowhere'"),
        ({"model": "x", "latency": {"batch_sizes": [1, 0]}}, "latency.batch_sizes must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused_with_its_cure(given, said):
    with pytest.raises(UserError, match=re.escape(said)):
        latency = LatencySettings(**given.pop("latency", {}))
        run(Settings(**given, latency=latency))
