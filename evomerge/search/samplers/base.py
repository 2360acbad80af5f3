"""What a sampler plug-in is: a builder of an Optuna sampler, and whether it needs one scalar objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optuna

from evomerge.registry import Registry


@dataclass(frozen=True)
class SamplerSetup:
    """What a builder may depend on. A sampler is built for each proposal: its state is the study's trials alone, so
    that a search that was killed and goes on proposes what it would have proposed anyway.

    Attributes:
        seed: of this proposal, another for each.
        startup: finished trials (the anchors) after which the sampler's model takes over.
        dimensions: number of searched parameters.
        turn: proposals made before this one.
    """

    seed: int
    startup: int
    dimensions: int
    turn: int = 0


@dataclass(frozen=True)
class SamplerKind:
    """A registered sampler. ``scalar``: it minimises one number (augmented Tchebycheff of the retentions) instead of
    one loss per task."""

    build: Callable[[SamplerSetup], optuna.samplers.BaseSampler]
    scalar: bool = False


SAMPLERS: Registry[SamplerKind] = Registry("sampler", "evomerge.search.samplers")
