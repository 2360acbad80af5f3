"""CMA-ES on one number, the augmented Tchebycheff loss of the retentions; TPE draws the categories."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from evomerge.errors import UserError
from evomerge.search.samplers.base import SAMPLERS, SamplerKind, SamplerSetup


@dataclass(frozen=True)
class Options:
    """Options of ``search=cmaes``.

    Attributes:
        population: candidates of a generation; None: CMA-ES's own 4 + 3 ln(dimensions).
    """

    population: int | None = None

    def __post_init__(self) -> None:
        if self.population is not None and self.population < 4:
            raise UserError(f"search.options.population must be at least 4, got {self.population}")


class NumberedByTurn(BaseSampler):
    """Optuna's CMA-ES, seeded by the proposal's turn.

    Optuna adds the trial's number to the seed. A proposal that a killed process had begun keeps its number for ever,
    so a resumed run has other numbers; the turn is the same.
    """

    def __init__(self, sampler: CmaEsSampler, turn: int) -> None:
        self._sampler, self._turn = sampler, turn

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        numbered = copy.copy(trial)
        numbered.number = self._turn
        return self._sampler.sample_relative(study, numbered, search_space)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)


def build(setup: SamplerSetup, options: Options) -> optuna.samplers.BaseSampler:
    sampler = CmaEsSampler(
        seed=setup.seed,
        n_startup_trials=setup.startup,
        independent_sampler=TPESampler(seed=setup.seed, n_startup_trials=setup.startup),
        warn_independent_sampling=False,
        lr_adapt=True,  # scores are noisy: arXiv:2304.03473
        popsize=options.population,
    )
    return NumberedByTurn(sampler, setup.turn)


SAMPLERS.register("cmaes")(SamplerKind(build, Options, scalar=True))
