"""Tree-structured Parzen estimators (multi-objective: arXiv:2304.11127, sec. 4)."""

from __future__ import annotations

import optuna

from evomerge.search.samplers.base import SAMPLERS, SamplerKind, SamplerSetup


def build(setup: SamplerSetup) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(seed=setup.seed, n_startup_trials=setup.startup, warn_independent_sampling=False)


SAMPLERS.register("tpe")(SamplerKind(build))
