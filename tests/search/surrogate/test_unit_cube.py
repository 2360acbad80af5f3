"""Points of the unit cube stand for parameters, and equal recipes are one point."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from evomerge.search.surrogate.unit_cube import UnitCube

SPACE = {
    "method": CategoricalDistribution(("ties", "linear")),
    "weight": FloatDistribution(-1.0, 3.0),
    "density": FloatDistribution(0.0, 1.0, step=0.25),
    "rate": FloatDistribution(1e-4, 1.0, log=True),
    "count": IntDistribution(1, 5),
}
CUBE = UnitCube(SPACE, {("method", "linear"): frozenset({"density"})})


def test_parameters_survive_the_way_there_and_back():
    params = {"method": "ties", "weight": 0.6, "density": 0.75, "rate": 1e-2, "count": 4}
    numbers, categories = CUBE.points([params])
    assert numbers[0] == pytest.approx([0.4, 0.75, 0.5, 0.75])
    assert CUBE.params(numbers[0], categories[0]) == {
        **params,
        "weight": pytest.approx(0.6),
        "rate": pytest.approx(1e-2),
    }


def test_values_stay_on_their_steps_and_in_their_range():
    params = CUBE.params(np.array([1.0, 0.6, 0.0, 0.9]), np.array([0]))
    assert params == {"method": "ties", "weight": 3.0, "density": 0.5, "rate": pytest.approx(1e-4), "count": 5}


def test_what_does_not_matter_makes_no_other_point():
    one, two = ({"method": "linear", "weight": 1.0, "density": d, "rate": 1e-2, "count": 4} for d in (0.0, 1.0))
    numbers, _ = CUBE.points([one, two, {**one, "method": "ties"}])
    assert (numbers[0] == numbers[1]).all() and (numbers[0] != numbers[2]).any()
