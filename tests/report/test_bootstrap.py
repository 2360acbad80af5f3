from __future__ import annotations

import numpy as np
import pytest

from evomerge.report.bootstrap import interval, resampled_means, resampled_retention


def outcomes(models: int = 3, n: int = 200) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {task: (rng.random((models, n)) < 0.6).astype(float) for task in ("sql", "json")}


def test_draws_are_seeded_and_centred() -> None:
    values = outcomes()
    means = resampled_means(values, draws=4000, seed=1)
    assert means.shape == (4000, 3, 2)
    assert np.array_equal(means, resampled_means(values, draws=4000, seed=1))
    assert not np.array_equal(means, resampled_means(values, draws=4000, seed=2))
    expected = np.stack([v.mean(axis=1) for v in values.values()], axis=-1)
    assert means.mean(axis=0) == pytest.approx(expected, abs=0.005)


def test_spread_is_that_of_a_mean() -> None:
    values = outcomes(n=400)
    spread = resampled_means(values, draws=4000)[:, 0, 0].std()
    p = values["sql"][0].mean()
    assert spread == pytest.approx(np.sqrt(p * (1 - p) / 400), rel=0.06)


def test_models_are_paired() -> None:
    """Equal outcomes give equal resamples: the difference of two equal models is 0 in every draw."""
    values = {task: np.stack([v[0], v[0]]) for task, v in outcomes().items()}
    means = resampled_means(values, draws=500)
    assert np.array_equal(means[:, 0], means[:, 1])


def test_retention_of_a_worked_example() -> None:
    means = np.array([[[0.5, 0.2], [0.4, 0.8], [0.4, 0.4]]])  # one draw; rows: specialist sql, specialist json, merge
    kept = resampled_retention(means, [0, 1])
    assert kept[0] == pytest.approx([0.25, 0.8, 0.5])
    assert resampled_retention(means, [None, 1])[0] == pytest.approx([0.25, 0.4, 0.4])


def test_interval_contains_the_value() -> None:
    found = interval(0.9, np.linspace(0, 0.8, 101))
    assert (found.low, found.mean, found.high) == (pytest.approx(0.02), 0.9, 0.9)
