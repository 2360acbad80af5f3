"""Fixtures: a tiny base in float32, adapters of it, and a recipe over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evomerge.engine.live_model import LiveModel
from evomerge.engine.load_merger import merger_for
from evomerge.engine.merger import Merger
from evomerge.merging.registry import METHODS
from evomerge.types import Expert, Recipe

Made = tuple[LiveModel, Merger, Recipe]


@pytest.fixture(scope="session")
def merged_pair(pico_model, pico_adapter) -> Callable[..., Made]:
    """``merged_pair(method="core_tsv", weights=((1.0, 1.0),), base=None, **lora)``: live base, merger, recipe."""

    def make(
        method: str = "core_tsv",
        weights: tuple[tuple[float, ...], ...] = ((1.0, 1.0),),
        base: Path | None = None,
        **lora: Any,
    ) -> Made:
        base = base or pico_model(dtype="float32")
        adapters = (pico_adapter(1, base, **({"r": 4} | lora)), pico_adapter(2, base, **({"r": 2} | lora)))
        experts = tuple(Expert(f"e{n}", str(folder)) for n, folder in enumerate(adapters))
        defaults = {name: default for name, (_, default) in METHODS[method].parameters.items()}
        recipe = Recipe(str(base), experts, method, weights, parameters=defaults, dtype="float32")
        return LiveModel(base, "float32"), merger_for(str(base), experts), recipe

    return make
