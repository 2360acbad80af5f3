"""NSGA-II with a population that fits a budget of hundreds (Optuna's own default, 50, would spend it on generation 0)."""

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
