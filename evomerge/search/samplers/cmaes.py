"""CMA-ES on one number, the augmented Tchebycheff loss of the retentions; categories are drawn by TPE."""

from __future__ import annotations

import optuna

from evomerge.search.samplers.base import SAMPLERS, SamplerKind, SamplerSetup


def build(setup: SamplerSetup) -> optuna.samplers.BaseSampler:
    return optuna.samplers.CmaEsSampler(
        seed=setup.seed,
        n_startup_trials=setup.startup,
        independent_sampler=optuna.samplers.TPESampler(seed=setup.seed, n_startup_trials=setup.startup),
        warn_independent_sampling=False,
        lr_adapt=True,  # scores are noisy: arXiv:2304.03473
    )


SAMPLERS.register("cmaes")(SamplerKind(build, scalar=True))
