"""A small search space over toy recipes: a method and one weight per expert."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evomerge.types import Expert, Objective, Recipe


@dataclass(frozen=True)
class ToyParameter:
    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class ToySpace:
    """``step`` sets how many recipes there are."""

    names: tuple[str, ...] = ("a", "b")
    step: float = 1e-3
    methods: tuple[str, ...] = ("linear", "ties")
    base: str = "base"
    anchored: bool = True

    @property
    def experts(self) -> tuple[Expert, ...]:
        return tuple(Expert(name, f"experts/{name}") for name in self.names)

    @property
    def parameters(self) -> tuple[ToyParameter, ...]:
        weights = tuple(ToyParameter(f"weight.{n}", "float", 0.0, 1.0, self.step) for n in self.names)
        return (ToyParameter("method", "categorical", choices=self.methods), *weights)

    def recipe(self, *weights: float, method: str | None = None) -> Recipe:
        return Recipe(self.base, self.experts, method or self.methods[0], (tuple(weights),))

    def decode(self, params: Mapping[str, Any]) -> Recipe:
        return self.recipe(*(params[f"weight.{n}"] for n in self.names), method=params["method"])

    def encode(self, recipe: Recipe) -> dict[str, Any]:
        weights = {f"weight.{n}": w for n, w in zip(self.names, recipe.weights[0], strict=True)}
        return {"method": recipe.method, **weights}

    def anchors(self) -> list[tuple[str, Recipe]]:
        if not self.anchored:
            return []
        count = len(self.names)
        alone = [
            (f"expert:{name}", self.recipe(*(float(i == t) for i in range(count)))) for t, name in enumerate(self.names)
        ]
        return [("base", self.recipe(*(0.0,) * count)), *alone, ("uniform", self.recipe(*(0.5,) * count))]


def objectives(space: ToySpace) -> list[Objective]:
    return [Objective(name, expert=name) for name in space.names]
