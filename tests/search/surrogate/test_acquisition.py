"""The improvement: gradients equal differences, weights on the sphere give the hypervolume, its maximum is found."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from scipy.stats import norm

from evomerge.search.pareto import hypervolume
from evomerge.search.surrogate.acquisition import improvement, propose
from evomerge.search.surrogate.gaussian_process import fit
from evomerge.search.surrogate.unit_cube import UnitCube

CUBE = UnitCube(
    {"kind": CategoricalDistribution(("a", "b")), "x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)},
    {("kind", "b"): frozenset({"y"})},
)


def scores(numbers, categories):
    """Two tasks that conflict in x; y is best at 0.3, and only choice a has it."""
    x, y = numbers[:, 0], numbers[:, 1]
    lost = np.where(categories[:, 0] == 0, 0.3 * (y - 0.3) ** 2, 0.2)
    return np.stack([0.9 - 0.4 * x**2 - lost, 0.9 - 0.4 * (1 - x) ** 2 - lost], axis=1)


def processes(count=40, noise=1e-6):
    rng = np.random.default_rng(0)
    categories = rng.integers(2, size=(count, 1))
    numbers = CUBE.centred(rng.random((count, 2)), categories)
    fitted = [
        fit(numbers, categories, norm.ppf(column), np.full(count, noise)) for column in scores(numbers, categories).T
    ]
    return fitted, (numbers, categories)


@pytest.mark.parametrize("balances", [True, False])
def test_gradients_equal_differences(balances):
    fitted, told = processes(15, noise=0.05)
    wanted = improvement(fitted, np.array([0.8, 0.9]), told, balances, 1)
    rng = np.random.default_rng(2)
    numbers, categories = rng.random((4, 2)), np.array([[0], [1], [0], [1]])
    value, slope = wanted.gradients(numbers, categories)
    assert value == pytest.approx(wanted.values(numbers, categories))
    for d in range(2):
        step = np.zeros(2)
        step[d] = 1e-6
        change = wanted.values(numbers + step, categories) - wanted.values(numbers - step, categories)
        assert slope[:, d] == pytest.approx(change / 2e-6, rel=1e-2, abs=1e-5)


def test_the_front_turn_orders_points_by_hypervolume_improvement():
    fitted, told = processes()
    few = told[0][:6], told[1][:6]
    wanted = improvement(fitted, np.ones(2), few, balances=False, seed=0)
    rng = np.random.default_rng(4)
    numbers, categories = rng.random((60, 2)), np.zeros((60, 1), dtype=int)
    losses = 1.0 - scores(*few)
    before = hypervolume(losses, np.ones(2))
    gained = [hypervolume([*losses, 1.0 - own], np.ones(2)) - before for own in scores(numbers, categories)]
    assert max(gained) > 0.02
    assert np.corrcoef(wanted.values(numbers, categories), gained)[0, 1] > 0.98


def test_the_balance_turn_proposes_the_best_compromise():
    fitted, told = processes()
    wanted = improvement(fitted, np.ones(2), told, balances=True, seed=0)
    numbers, categories = propose(wanted, CUBE, told, np.random.default_rng(0))
    assert CUBE.params(numbers, categories)["kind"] == "a"
    assert numbers == pytest.approx([0.5, 0.3], abs=0.06)


def test_retention_counts_not_the_score():
    """The second task's expert solves less, so that the balance lies nearer to the first task."""
    fitted, told = processes()
    wanted = improvement(fitted, np.array([0.9, 0.7]), told, balances=True, seed=0)
    numbers, _ = propose(wanted, CUBE, told, np.random.default_rng(0))
    x = np.linspace(0, 1, 1001)
    best = x[np.argmax(np.minimum((0.9 - 0.4 * x**2) / 0.9, (0.9 - 0.4 * (1 - x) ** 2) / 0.7))]
    assert numbers[0] == pytest.approx(best, abs=0.06) and best < 0.4
