"""Tree-structured Parzen estimators (multi-objective: arXiv:2304.11127, sec. 4)."""

from __future__ import annotations

from dataclasses import dataclass

import optuna

from evomerge.errors import UserError
from evomerge.search.samplers.base import SAMPLERS, SamplerKind, SamplerSetup


@dataclass(frozen=True)
class Options:
    """Options of ``search=tpe``.

    Attributes:
        candidates: draws for each parameter, of which the one with the largest expected improvement is proposed.
    """

    candidates: int = 24

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise UserError(f"search.options.candidates must be at least 1, got {self.candidates}")


def build(setup: SamplerSetup, options: Options) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(
        seed=setup.seed,
        n_startup_trials=setup.startup,
        n_ei_candidates=options.candidates,
        warn_independent_sampling=False,
    )


SAMPLERS.register("tpe")(SamplerKind(build, Options))
