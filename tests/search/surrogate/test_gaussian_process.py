"""The process: gradients equal differences, known noise is believed, running points narrow it and move nothing."""

from __future__ import annotations

import numpy as np
import pytest

from evomerge.search.surrogate import gaussian_process
from evomerge.search.surrogate.gaussian_process import fit


def problem(count: int = 40, dimensions: int = 5, seed: int = 0):
    """Points with a category, values of a smooth function with an offset for each choice, and noise of 0.1."""
    rng = np.random.default_rng(seed)
    numbers, categories = rng.random((count, dimensions)), rng.integers(3, size=(count, 1))
    truth = np.sin(3 * numbers[:, 0]) + numbers[:, 1] ** 2 + 0.5 * categories[:, 0]
    return numbers, categories, truth, truth + 0.1 * rng.standard_normal(count)


def test_the_likelihoods_gradient_equals_differences():
    numbers, categories, _, values = problem(12)
    noise = np.linspace(0.01, 0.2, 12)
    rng = np.random.default_rng(1)
    place = np.concatenate([[0.2], rng.normal(0.0, 0.3, 5), [0.7], [-1.0], [-3.0]])
    _, slope = gaussian_process._log_likelihood(place, numbers, categories, values, noise)
    for n in range(len(place)):
        above, below = place.copy(), place.copy()
        above[n] += 1e-5
        below[n] -= 1e-5
        values_at = [gaussian_process._log_likelihood(p, numbers, categories, values, noise)[0] for p in (above, below)]
        assert slope[n] == pytest.approx((values_at[0] - values_at[1]) / 2e-5, rel=1e-4, abs=1e-6)


def test_predictions_come_near_the_truth_and_know_how_near():
    numbers, categories, _, values = problem(60)
    process = fit(numbers, categories, values, np.full(60, 0.01))
    new, kinds, truth, _ = problem(200, seed=5)
    mean, deviation = process.predict(new, kinds)
    assert np.sqrt(np.mean((mean - truth) ** 2)) < 0.15 < truth.std() / 3
    assert 0.85 < np.mean(np.abs(mean - truth) < 2 * deviation) <= 1.0


def test_gradients_of_predictions_equal_differences():
    numbers, categories, _, values = problem()
    process = fit(numbers, categories, values, np.full(40, 0.01))
    new, kinds, _, _ = problem(4, seed=7)
    _, _, of_mean, of_deviation = process.predict_with_gradients(new, kinds)
    for d in range(5):
        step = np.zeros(5)
        step[d] = 1e-5
        above, below = process.predict(new + step, kinds), process.predict(new - step, kinds)
        assert of_mean[:, d] == pytest.approx((above[0] - below[0]) / 2e-5, rel=1e-3, abs=1e-5)
        assert of_deviation[:, d] == pytest.approx((above[1] - below[1]) / 2e-5, rel=1e-3, abs=1e-5)


def test_a_value_that_is_said_to_be_noisy_is_believed_less():
    numbers, categories, truth, _ = problem()
    raised = truth.copy()
    raised[0] += 2.0
    noise = np.full(40, 0.01)
    trusted = fit(numbers, categories, raised, noise).predict(numbers[:1], categories[:1])[0]
    noise[0] = 25.0
    doubted = fit(numbers, categories, raised, noise).predict(numbers[:1], categories[:1])[0]
    assert abs(doubted[0] - truth[0]) < 0.2 < 0.5 < abs(trusted[0] - truth[0])


def test_running_points_narrow_the_process_and_leave_its_mean():
    numbers, categories, _, values = problem()
    process = fit(numbers, categories, values, np.full(40, 0.01))
    new, kinds, _, _ = problem(6, seed=9)
    pending = process.given(new[:2], kinds[:2])
    before, after = process.predict(new, kinds), pending.predict(new, kinds)
    assert after[0] == pytest.approx(before[0], abs=1e-5)
    assert (after[1][:2] < 0.9 * before[1][:2]).all() and (after[1] <= before[1] + 1e-9).all()


def test_equal_values_are_no_obstacle():
    numbers, categories, _, _ = problem(5)
    mean, _ = fit(numbers, categories, np.full(5, 0.3), np.full(5, 1e-3)).predict(numbers, categories)
    assert mean == pytest.approx(np.full(5, 0.3), abs=1e-6)
