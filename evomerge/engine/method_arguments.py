"""Turn a recipe's numbers into the arguments of its method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from evomerge.errors import UserError
from evomerge.merging.registry import METHODS
from evomerge.types import Recipe

# Full-space methods whose result is base + sum_t c_t delta_t with c from the weights alone. For LoRA experts the sum
# stays in factors, which is exact and many times cheaper than dense deltas.
LINEAR_METHODS = frozenset({"linear", "task_arithmetic"})


def weights_of(recipe: Recipe, group: int) -> torch.Tensor:
    """Weights (T,) float32 of one layer group."""
    return torch.tensor(recipe.weights[group], dtype=torch.float32)


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """Keyword arguments of the recipe's method."""
    return {**recipe.expert_parameters, **recipe.parameters}


def linear_coefficients(recipe: Recipe) -> list[torch.Tensor] | None:
    """c of shape (T,) per layer group if the recipe's result is base + sum_t c_t delta_t, else None.

    The method itself gives its coefficients: it is applied to base 0 and unit deltas.

    Raises:
        UserError: the method refuses the weights.
    """
    if recipe.method not in LINEAR_METHODS:
        return None
    if recipe.method == "linear" and recipe.parameters.get("average") == "sum":
        return None  # not linear in deltas: the sum holds (sum of the weights) x base
    experts = len(recipe.experts)
    method = METHODS[recipe.method]
    return [
        method(torch.zeros(experts), torch.eye(experts), weights_of(recipe, g), **settings_of(recipe))
        for g in range(len(recipe.weights))
    ]


def check_experts(recipe: Recipe, known: Sequence[str]) -> None:
    """Raise a UserError unless the method takes this number of experts and all are loaded."""
    method = METHODS[recipe.method]
    if not method.takes(len(recipe.experts)):
        limits = (
            f"{method.min_experts}" if method.max_experts == method.min_experts else f"at least {method.min_experts}"
        )
        raise UserError(
            f"{recipe.method} merges {limits} experts, the recipe has {len(recipe.experts)}: use another method"
        )
    for expert in recipe.experts:
        if expert.name not in known:
            raise UserError(f"expert '{expert.name}' of the recipe is not loaded (loaded: {', '.join(sorted(known))})")
