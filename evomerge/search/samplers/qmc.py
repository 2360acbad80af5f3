"""Scrambled Sobol' points (Owen 1998): cover the space evenly, and learn nothing from the scores."""

from __future__ import annotations

import math
import warnings
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy.stats import qmc

from evomerge.search.samplers.base import SAMPLERS, NoOptions, SamplerKind, SamplerSetup


class SobolPoint(optuna.samplers.BaseSampler):
    """Proposes one point of the run's sequence, chosen by the proposal's turn.

    Optuna's own QMCSampler counts its proposals in the study, so a proposal that a killed process had begun would
    leave a hole in a resumed sequence.
    """

    def __init__(self, setup: SamplerSetup) -> None:
        engine = qmc.Sobol(max(1, len(setup.distributions)), scramble=True, seed=setup.run_seed)
        if setup.turn > setup.anchors:  # SciPy refuses to go forward by 0
            engine.fast_forward(setup.turn - setup.anchors)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one point at a time is no power of two
            point = engine.random(1)[0]
        self._values = {
            name: _value(kind, float(place))
            for (name, kind), place in zip(setup.distributions.items(), point, strict=False)
        }

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._values[param_name]


def _value(kind: BaseDistribution, place: float) -> Any:
    """The parameter's value at ``place`` in [0, 1) of its range."""
    if isinstance(kind, CategoricalDistribution):
        return kind.choices[int(place * len(kind.choices))]
    assert isinstance(kind, (FloatDistribution, IntDistribution))
    if kind.step is not None and not kind.log:
        steps = int((kind.high - kind.low) / kind.step + 1e-9) + 1
        value = kind.low + int(place * steps) * kind.step
        return int(value) if isinstance(kind, IntDistribution) else min(value, kind.high)
    low, high = (math.log(kind.low), math.log(kind.high)) if kind.log else (kind.low, kind.high)
    value = low + place * (high - low)
    value = math.exp(value) if kind.log else value
    return round(value) if isinstance(kind, IntDistribution) else min(max(value, kind.low), kind.high)


def build(setup: SamplerSetup, options: NoOptions) -> optuna.samplers.BaseSampler:
    return SobolPoint(setup)


SAMPLERS.register("qmc")(SamplerKind(build, space_filling=True))
