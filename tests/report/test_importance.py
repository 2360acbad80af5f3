from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evomerge.report import importance
from evomerge.report.importance import importances
from evomerge.report.run_data import RunData
from evomerge.types import ItemScore, Trial


@pytest.fixture
def trials(finished: Path) -> list[Trial]:
    """60 searched candidates: the score on sql falls with the distance of ``scale`` from 0.5; all else is noise."""
    template = next(t for t in RunData(finished).scored if t.label is None)
    draw = np.random.default_rng(1)
    found = []
    for number in range(60):
        scale = float(draw.uniform(0, 1))
        right = round(40 * (1 - 2 * abs(scale - 0.5)))
        items = tuple(
            ItemScore(task, f"{n}", float(n < (right if task == "sql" else 40)))
            for task in ("sql", "code", "json")
            for n in range(40)
        )
        noise = {f"density.e{n}": float(draw.uniform(0, 1)) for n in range(40)}
        params = {"method": "ab"[number % 2], "scale": scale, "fixed": 1.0, **noise}
        found.append(replace(template, number=number, params=params, items=items))
    return found


def of_trials(folder: Path, trials: list[Trial]) -> tuple[int, list[importance.Importance]]:
    run = RunData(folder)
    run.records = tuple(trials)
    return importances(run)


def test_a_hump_is_found_and_noise_is_not(finished: Path, trials: list[Trial]) -> None:
    count, found = of_trials(finished, trials)
    assert count == 60
    by_name = {entry.name: entry for entry in found}
    assert found[0].name == "scale" and found[0].share > 0.4 > found[0].chance
    low, high = (float(v) for v in found[0].best.split(" to "))
    assert 0.2 < low < 0.5 < high < 0.8
    assert by_name["method"].share < by_name["method"].chance
    lucky = [entry for entry in found if entry.name.startswith("density") and entry.share > entry.chance]
    assert len(lucky) <= 6  # of 40, where one in twenty is
    assert "fixed" not in by_name  # what never changes explains nothing


def test_shares_are_those_of_an_analysis_of_variance(finished: Path, trials: list[Trial]) -> None:
    from scipy.stats import kruskal

    found = {entry.name: entry for entry in of_trials(finished, trials)[1]}
    kept = [t.scores["sql"].mean for t in trials]
    groups = [[k for k, t in zip(kept, trials, strict=True) if t.params["method"] == name] for name in "ab"]
    assert found["method"].share == pytest.approx(kruskal(*groups).statistic / (len(trials) - 1))


def test_few_candidates_say_nothing(finished: Path, trials: list[Trial]) -> None:
    assert of_trials(finished, trials[: importance.FEWEST - 1]) == (importance.FEWEST - 1, [])
    anchors = [replace(trial, label="uniform") for trial in trials]
    assert of_trials(finished, anchors) == (0, [])


def test_the_same_run_says_the_same(finished: Path, trials: list[Trial]) -> None:
    assert of_trials(finished, trials) == of_trials(finished, trials)
