"""What a sampler plug-in is: a builder of an Optuna sampler, and whether it needs one scalar objective."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import optuna

from evomerge.registry import Registry


@dataclass(frozen=True)
class SamplerSetup:
    """What a builder may depend on.

    Attributes:
        seed: already mixed with the number of stored trials: a resumed search must not propose again what it did.
        startup: finished trials (the anchors) after which the sampler's model takes over.
        dimensions: number of searched parameters.
    """

    seed: int
    startup: int
    dimensions: int


@dataclass(frozen=True)
class SamplerKind:
    """A registered sampler. ``scalar``: it minimises one number (augmented Tchebycheff of the retentions) instead of
    one loss per task."""

    build: Callable[[SamplerSetup], optuna.samplers.BaseSampler]
    scalar: bool = False


SAMPLERS: Registry[SamplerKind] = Registry("sampler", "evomerge.search.samplers")
