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
    """c of shape (T,) per layer group when the recipe's result is base + sum_t c_t delta_t, else None.

    Read off the method itself: applied to base 0 and unit deltas it gives its coefficients.

    Raises:
        UserError: weights the method refuses.
    """
    if recipe.method not in LINEAR_METHODS:
        return None
    if recipe.method == "linear" and recipe.parameters.get("average") == "sum":
        return None  # the base comes in as often as the weights sum to
    experts = len(recipe.experts)
    method = METHODS[recipe.method]
    return [
        method(torch.zeros(experts), torch.eye(experts), weights_of(recipe, g), **settings_of(recipe))
        for g in range(len(recipe.weights))
    ]


def check_experts(recipe: Recipe, known: Sequence[str]) -> None:
    """Raises a UserError unless the method takes this many experts and all of them are loaded."""
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
