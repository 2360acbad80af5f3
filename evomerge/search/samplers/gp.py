"""Gaussian processes, the default: proposals alternate between extending the front and balancing the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, GPSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from evomerge.search.pareto import retentions, tchebycheff
from evomerge.search.samplers.base import SAMPLERS, NoOptions, SamplerKind, SamplerSetup


class FrontAndBalance(BaseSampler):
    """Alternates between proposals that extend the Pareto front and proposals that balance the tasks.

    Expected hypervolume improvement alone spends most of a small budget on the front's ends, where one skill is paid
    for with another. Every second proposal therefore maximises the expected improvement of one number, the augmented
    Tchebycheff loss of the retentions (as in ParEGO, doi:10.1109/TEVC.2005.851274), since the search chooses its
    winner by that number. Retention is measured against the best score any trial has reached on that objective.
    """

    def __init__(self, setup: SamplerSetup) -> None:
        # deterministic_objective stays off: a score of some dozens of items carries points of noise
        self._front, self._balance = (
            GPSampler(seed=seed, n_startup_trials=setup.startup, warn_independent_sampling=False)
            for seed in (setup.seed, setup.seed ^ 1)
        )
        self._balances = setup.turn % 2 == 0

    def reseed_rng(self) -> None:
        self._front.reseed_rng()
        self._balance.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._front.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not self._balances or len(study.directions) == 1:
            return self._front.sample_relative(study, trial, search_space)
        copy = _one_number(study)
        copy.sampler = self._balance
        return copy.ask(fixed_distributions=search_space).params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._front.sample_independent(study, trial, param_name, param_distribution)


def _one_number(study: Study) -> Study:
    """The study's finished and running trials under a single loss."""
    copies = optuna.create_study(direction="minimize")
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if finished:
        scores = 1.0 - np.array([trial.values for trial in finished])
        losses: Sequence[float] = tchebycheff(retentions(scores, scores.max(axis=0))).tolist()
        copies.add_trials([_copy(trial, loss) for trial, loss in zip(finished, losses, strict=True)])
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    copies.add_trials([_copy(trial, None) for trial in running if trial.params])
    return copies


def _copy(trial: FrozenTrial, loss: float | None) -> FrozenTrial:
    params: Mapping[str, Any] = trial.params
    return optuna.trial.create_trial(
        state=trial.state, value=loss, params=dict(params), distributions=trial.distributions
    )


def build(setup: SamplerSetup, options: NoOptions) -> BaseSampler:
    return FrontAndBalance(setup)


SAMPLERS.register("gp")(SamplerKind(build))
