"""NSGA-II with a population that fits a budget of a hundred (Optuna's own 50 would spend half on generation 0)."""

from __future__ import annotations

import optuna

from evomerge.search.samplers.base import SAMPLERS, SamplerKind, SamplerSetup


def build(setup: SamplerSetup) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(
        seed=setup.seed,
        population_size=16,
        crossover=optuna.samplers.nsgaii.BLXAlphaCrossover(),
    )


SAMPLERS.register("nsga2")(SamplerKind(build))
