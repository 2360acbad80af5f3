"""Make the search space, from its settings and the models to merge."""

from __future__ import annotations

import math
from collections import Counter

from evomerge.engine.merger import Merger
from evomerge.errors import UserError
from evomerge.jobs.steps.model_names import model_source
from evomerge.recipes.space import SearchSpace, default_methods
from evomerge.recipes.space_settings import ModelsSettings, SpaceSettings
from evomerge.types import DTYPES, Expert
from evomerge.weights.checkpoint import Checkpoint

_GROUPS = 4  # layer groups, where the settings name no number


def experts_of(models: ModelsSettings) -> tuple[Expert, ...]:
    """The experts, their names made such that any worker finds them."""
    return tuple(Expert(name, model_source(source)) for name, source in models.experts.items())


def search_space(settings: SpaceSettings, base: str, experts: tuple[Expert, ...], merger: Merger) -> SearchSpace:
    """
    Raises:
        UserError: more layer groups than layers, a method that cannot merge these experts, or what
            :class:`SearchSpace` refuses.
    """
    if settings.layer_groups is not None and settings.layer_groups > merger.layers:
        raise UserError(
            f"space.layer_groups must be at most {merger.layers}, the layers of {base}, got {settings.layer_groups}"
        )
    adapters = all(vector.is_lora for vector in merger.experts.values())
    methods = tuple(settings.methods) or default_methods(adapters)
    if not adapters and (core := [name for name in methods if name.startswith("core_")]):
        raise UserError(
            f"{core[0]} needs LoRA adapters, and an expert here is a full model: leave it out of space.methods"
        )
    return SearchSpace(
        base=base,
        experts=experts,
        methods=methods,
        layer_groups=settings.layer_groups or min(_GROUPS, merger.layers),
        weight_range=(settings.weight_low, settings.weight_high),
        seed=settings.seed,
        dtype=settings.dtype or _dtype_of(merger.base),
        modifiers=tuple(settings.modifiers),
    )


def _dtype_of(base: Checkpoint) -> str:
    """The dtype of most numbers of ``base``; bfloat16 where models are not merged to that dtype."""
    numbers: Counter[str] = Counter()
    for name in base:
        numbers[str(base.dtype(name)).removeprefix("torch.")] += math.prod(base.shape(name))
    most = numbers.most_common(1)[0][0]
    return most if most in DTYPES else "bfloat16"
