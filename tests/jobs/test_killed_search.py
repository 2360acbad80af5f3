"""A whole search with all that keeps state, killed at random moments: it goes on as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
from run_evomerge import ENVIRONMENT, command, evomerge

from evomerge.search.store import Store

KILLS = 4


@pytest.fixture
def arguments(pico_model, pico_adapter) -> list[str]:
    base = pico_model(dtype="float32")
    return [
        "name=x",
        "search.budget=26",
        "search.learned=gold",
        f"models.base={base}",
        *(f"models.experts.{name}={pico_adapter(n, base, size=0.15)}" for n, name in enumerate(("sql", "json"), 1)),
        "tasks=[sql,json]",
        *(f"tasks.{task}.limit=30" for task in ("sql", "json")),
        *(f"tasks.{task}.max_new_tokens=12" for task in ("sql", "json")),
        "space.layer_groups=2",
        "cluster=serial",
        "cluster.threads=1",
        "backend.dtype=float32",
    ]


def told(folder: Path) -> list[tuple]:
    """The trials; the items' metrics tell tokens and passes, so that other drafts would show."""
    trials = Store(folder / "outputs" / "x").trials()
    return [(t.number, t.label, t.params, t.recipe.fingerprint, t.stopped, t.items) for t in trials]


def test_a_search_killed_at_random_moments_makes_the_same_trials_with_the_same_drafts(arguments, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    start = time.monotonic()
    result = evomerge(*arguments, folder=whole)
    assert result.returncode == 0, result.stdout + result.stderr
    seconds = time.monotonic() - start
    draw, ended = random.Random(0), 0
    for _ in range(KILLS):
        driver = subprocess.Popen(command(*arguments), cwd=killed, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        try:
            driver.wait(draw.uniform(0.2, 1.0) * seconds)
            ended += 1
        except subprocess.TimeoutExpired:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
    assert ended < KILLS, "no run was killed: the moments are too late"
    assert evomerge(*arguments, folder=killed).returncode == 0
    expected = told(whole)
    assert told(killed) == expected
    passes = [item.metrics["passes"] < item.metrics["tokens"] for trial in expected for item in trial[-1]]
    assert any(passes), "no answer was verified in fewer passes than it has tokens"
