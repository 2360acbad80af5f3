"""Gaussian processes with expected (hypervolume) improvement: the default up to a few hundred trials."""

from __future__ import annotations

import optuna

from evomerge.search.samplers.base import SAMPLERS, SamplerKind, SamplerSetup


def build(setup: SamplerSetup) -> optuna.samplers.BaseSampler:
    # deterministic_objective stays off: a score of some dozens of items carries points of noise
    return optuna.samplers.GPSampler(seed=setup.seed, n_startup_trials=setup.startup, warn_independent_sampling=False)


SAMPLERS.register("gp")(SamplerKind(build))
