"""Uniform draws: the baseline that every other sampler has to beat."""

from __future__ import annotations

import optuna

from evomerge.search.samplers.base import SAMPLERS, NoOptions, SamplerKind, SamplerSetup


def build(setup: SamplerSetup, options: NoOptions) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=setup.seed)


SAMPLERS.register("random")(SamplerKind(build))
