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
    """The trials, without their numbers: a proposal that a kill cut short has one, too. The items' metrics tell tokens
    and passes, so that other drafts would show."""
    trials = Store(folder / "outputs" / "x").trials()
    return [(t.label, t.params, t.recipe.fingerprint, t.stopped, t.items) for t in trials]


def lines(folder: Path) -> int:
    """Lines that the search has written: its progress, whatever the machine is doing besides."""
    files = (folder / "outputs" / "x" / name for name in ("study.journal", "evaluations.jsonl"))
    return sum(file.read_bytes().count(b"\n") for file in files if file.exists())


def test_a_search_killed_at_random_moments_makes_the_same_trials_with_the_same_drafts(arguments, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    result = evomerge(*arguments, folder=whole)
    assert result.returncode == 0, result.stdout + result.stderr
    draw = random.Random(0)
    for moment in sorted(draw.sample(range(5, lines(whole) - 5), KILLS)):
        driver = subprocess.Popen(command(*arguments), cwd=killed, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        while lines(killed) < moment and driver.poll() is None:
            time.sleep(0.01)
        driver.send_signal(signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL, "it was over before it was killed"
    assert evomerge(*arguments, folder=killed).returncode == 0
    expected = told(whole)
    assert told(killed) == expected
    passes = [item.metrics["passes"] < item.metrics["tokens"] for trial in expected for item in trial[-1]]
    assert any(passes), "no answer was verified in fewer passes than it has tokens"
