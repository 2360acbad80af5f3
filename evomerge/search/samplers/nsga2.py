"""NSGA-II (doi:10.1109/4235.996017) with a population that fits a budget of a hundred candidates."""

from __future__ import annotations

from dataclasses import dataclass

import optuna

from evomerge.errors import UserError
from evomerge.search.samplers.base import SAMPLERS, SamplerKind, SamplerSetup


@dataclass(frozen=True)
class Options:
    """Options of ``search=nsga2``.

    Attributes:
        population: candidates of a generation. Optuna's own 50 would spend half of a usual budget on generation 0.
    """

    population: int = 16

    def __post_init__(self) -> None:
        if self.population < 2:
            raise UserError(f"search.options.population must be at least 2, got {self.population}")


def build(setup: SamplerSetup, options: Options) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(
        seed=setup.seed,
        population_size=options.population,
        crossover=optuna.samplers.nsgaii.BLXAlphaCrossover(),
    )


SAMPLERS.register("nsga2")(SamplerKind(build, Options))
