"""Fixtures: a base, three LoRA experts of it, and recipes over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pico_recipes import NAMES, RECIPES, WEIGHTS

from evomerge.engine.merger import Merger
from evomerge.types import Expert, Recipe
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import open_task_vector


@pytest.fixture
def adapters(pico_adapter: Callable[..., Path]) -> dict[str, Path]:
    """Ranks differ, one expert leaves most layers alone."""
    return {
        "sql": pico_adapter(seed=1, r=4),
        "json": pico_adapter(seed=2, r=2, use_rslora=True),
        "code": pico_adapter(seed=3, r=3, target_modules=["q_proj", "up_proj"]),
    }


@pytest.fixture
def make_merger(pico_model: Callable[..., Path], adapters: dict[str, Path]) -> Callable[..., Merger]:
    """``make_merger(base=pico_model())``: a new merger of the three adapters."""

    def make(base: Path | None = None) -> Merger:
        checkpoint = Checkpoint(base or pico_model())
        return Merger(checkpoint, {name: open_task_vector(checkpoint, str(path)) for name, path in adapters.items()})

    return make


@pytest.fixture
def merger(make_merger: Callable[..., Merger]) -> Merger:
    return make_merger()


@pytest.fixture
def recipe_of(adapters: dict[str, Path]) -> Callable[..., Recipe]:
    """``recipe_of("ties", weights=..., dtype=...)``."""

    def make(
        method: str, weights: tuple[tuple[float, ...], ...] = WEIGHTS, dtype: str = "bfloat16", **more: Any
    ) -> Recipe:
        experts = tuple(Expert(name, str(adapters[name])) for name in NAMES)
        return Recipe("pico", experts, method, weights, dtype=dtype, **(RECIPES.get(method, {}) | more))

    return make
