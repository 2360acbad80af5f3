"""Gaussian processes with known noise, the default: proposals alternate between the front and the balance of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import norm

from evomerge.search.pareto import nondominated, retentions, tchebycheff
from evomerge.search.samplers.base import SAMPLERS, NoOptions, SamplerKind, SamplerSetup
from evomerge.search.surrogate.acquisition import improvement, propose
from evomerge.search.surrogate.gaussian_process import Array, GaussianProcess, fit
from evomerge.search.surrogate.unit_cube import UnitCube

_BEST, _NEWEST = 110, 40  # trials that the processes know: a fit costs the cube of their number
_UNKNOWN = 100  # items that a score without known noise is taken to have
_EDGE = 0.005  # scores nearer to 0 or 1 have no probit that means anything


class FrontAndBalance(BaseSampler):
    """Alternates between proposals that extend the Pareto front and proposals that balance the tasks.

    Expected hypervolume improvement alone spends most of a small budget on the front's ends, where one skill is paid
    for with another. Every second proposal therefore maximises the expected improvement of the smallest retention, by
    which the search chooses its winner (:mod:`evomerge.search.surrogate.acquisition`). Retention is the winner's: the
    score divided by that of the task's expert alone.

    Each task has a process of its own over the probits of its scores, which are told their noise
    (:mod:`evomerge.search.noise`). Candidates that are running count with their predicted scores.
    """

    def __init__(self, setup: SamplerSetup) -> None:
        self._setup = setup
        self._uniform = optuna.samplers.RandomSampler(seed=setup.seed)

    def reseed_rng(self) -> None:
        self._uniform.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return dict(self._setup.distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        told = [t for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if self._counts(t)]
        if len(told) < self._setup.startup or not search_space:
            return {}
        scores = 1.0 - np.array([t.values for t in told])
        references = self._references(scores.shape[1])
        told, scores = self._few(told, scores, references)
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        cube = UnitCube(search_space, self._setup.irrelevant)
        points = cube.points([t.params for t in told])
        pending = cube.points(
            [t.params for t in running if t.number != trial.number and search_space.keys() <= t.params.keys()]
        )
        processes = [
            self._fit(points, scores[:, m], [self._noise(t, m) for t in told]).given(*pending)
            for m in range(scores.shape[1])
        ]
        balances = self._setup.turn % 2 == 0
        wanted = improvement(processes, references, points, balances, self._setup.seed)
        order = np.argsort(tchebycheff(retentions(scores, references)), kind="stable")
        parents = points[0][order], points[1][order]
        return cube.params(*propose(wanted, cube, parents, np.random.default_rng(self._setup.seed)))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._uniform.sample_independent(study, trial, param_name, param_distribution)

    def _counts(self, trial: FrozenTrial) -> bool:
        """A duplicate of another trial would count its noise twice."""
        return "duplicate_of" not in trial.user_attrs and trial.params.keys() == self._setup.distributions.keys()

    def _references(self, tasks: int) -> Array:
        known = np.array(self._setup.references or np.full(tasks, np.nan))
        return np.where(known > 0, known, 1.0)

    def _few(self, told: list[FrozenTrial], scores: Array, references: Array) -> tuple[list[FrozenTrial], Array]:
        """The best by their smallest retention and the front, then the newest; all of them while they are few."""
        if len(told) <= _BEST + _NEWEST:
            return told, scores
        loss = tchebycheff(retentions(scores, references))
        loss = np.where(nondominated(1.0 - scores), loss - 10.0, loss)
        newest = range(len(told) - _NEWEST, len(told))
        best = [int(n) for n in np.argsort(loss, kind="stable") if n not in newest][:_BEST]
        kept = [*sorted(best), *newest]
        return [told[n] for n in kept], scores[kept]

    def _noise(self, trial: FrozenTrial, task: int) -> float:
        known = self._setup.noise.get(trial.number)
        if known is not None:
            return known[task]
        score = 1.0 - trial.values[task]
        return max(score * (1.0 - score), _EDGE) / _UNKNOWN

    def _fit(self, points: tuple[Array, Any], scores: Array, noise: Sequence[float]) -> GaussianProcess:
        kept = np.clip(scores, _EDGE, 1.0 - _EDGE)
        probits = norm.ppf(kept)
        return fit(*points, probits, np.array(noise) / norm.pdf(probits) ** 2)


def build(setup: SamplerSetup, options: NoOptions) -> BaseSampler:
    return FrontAndBalance(setup)


SAMPLERS.register("gp")(SamplerKind(build))
