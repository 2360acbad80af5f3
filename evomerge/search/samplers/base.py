"""Sampler plug-ins: how one is declared, and what it may depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution

from evomerge.registry import Registry


@dataclass(frozen=True)
class SamplerSetup:
    """What a builder may depend on. The search builds a sampler for each proposal: a sampler's state is the study's
    told trials alone, so that a search that was killed and resumed proposes what it would have proposed anyway.

    Attributes:
        run_seed: seed of the whole run. What has to be the same for all proposals takes it.
        seed: seed of this proposal, another for each.
        turn: proposals made before this one, the anchors among them.
        anchors: number of anchors, which every search proposes first.
        startup: told trials after which a sampler's model takes over.
        distributions: the searched parameters by name, in Optuna's words.
        irrelevant: (a category's name, its choice) -> names of the parameters that do not matter under this choice.
        references: each task's score of its expert alone, NaN where it is not known; empty: none is.
        noise: variance of each score of a trial, by the trial's number (:mod:`evomerge.search.noise`).
    """

    run_seed: int
    seed: int
    turn: int
    anchors: int
    startup: int
    distributions: Mapping[str, BaseDistribution]
    irrelevant: Mapping[tuple[str, Any], frozenset[str]] = field(default_factory=dict)
    references: tuple[float, ...] = ()
    noise: Mapping[int, tuple[float, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class NoOptions:
    """A sampler without options."""


@dataclass(frozen=True)
class SamplerKind:
    """A registered sampler.

    Attributes:
        build: makes the sampler of one proposal, from the setup and an object of ``options``.
        options: frozen dataclass of what a user sets as ``search.options.NAME``, with a default for each.
        scalar: it minimises one number (augmented Tchebycheff of the retentions) instead of one loss per task.
        space_filling: its proposals cover the space more evenly than random ones; the conformance tests measure it.
    """

    build: Callable[[SamplerSetup, Any], optuna.samplers.BaseSampler]
    options: type[Any] = NoOptions
    scalar: bool = False
    space_filling: bool = False


SAMPLERS: Registry[SamplerKind] = Registry("sampler", "evomerge.search.samplers")
