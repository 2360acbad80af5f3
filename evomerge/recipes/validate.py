"""Check a recipe's values against its method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from evomerge.errors import UserError, nearest
from evomerge.merging.modifiers import MODIFIERS
from evomerge.merging.parameters import Domain
from evomerge.merging.registry import METHODS
from evomerge.types import DTYPES, Recipe


def check(recipe: Recipe, where: str = "recipe") -> Recipe:
    """Return ``recipe``, or raise a UserError that names the key; ``where`` is the recipe's file."""
    method = METHODS[recipe.method]
    names = [expert.name for expert in recipe.experts]
    if not method.takes(len(names)):
        raise UserError(f"{method.name} takes {method.experts} experts, got {len(names)} ({where}: experts)")
    if len(set(names)) != len(names):
        raise UserError(f"experts need different names, got {', '.join(names)} ({where}: experts)")
    if recipe.dtype not in DTYPES:
        raise UserError(f"dtype must be one of {', '.join(DTYPES)}, got '{recipe.dtype}' ({where}: dtype)")
    for group, row in enumerate(recipe.weights):
        if len(row) != len(names):
            raise UserError(
                f"weights need {len(names)} values a layer group, got {len(row)} ({where}: weights[{group}])"
            )
        for name, weight in zip(names, row, strict=True):
            if not math.isfinite(weight):
                raise UserError(f"weight must be a finite number, got {weight:g} ({where}: weight of {name})")
        if method.is_relative(recipe.parameters) and any(row) and abs(sum(row)) < 1e-6 * sum(map(abs, row)):
            raise UserError(
                f"{method.name} divides by the sum of the weights, got {list(row)} which sum to 0:"
                f" use task_arithmetic ({where}: weights of layer group {group})"
            )
    for name, values in recipe.expert_parameters.items():
        bounds = _known(name, method.expert_parameters, method.name, f"{where}: experts")
        if len(values) != len(names):
            raise UserError(f"{name} needs {len(names)} values, got {len(values)} ({where}: experts)")
        for number, value in enumerate(values):
            bounds.check(name, value, f"{where}: experts[{number}].{name}")
    for name, setting in recipe.parameters.items():
        bounds = _known(name, method.parameters, method.name, f"{where}: parameters")
        bounds.check(name, setting, f"{where}: parameters.{name}")
    for modifier, numbers in recipe.modifiers.items():
        known = MODIFIERS[modifier].parameters
        for name, amount in numbers.items():
            bounds = _known(name, known, modifier, f"{where}: modifiers.{modifier}")
            bounds.check(name, amount, f"{where}: modifiers.{modifier}.{name}")
    return recipe


def _known(name: str, known: Mapping[str, tuple[Domain, Any]], method: str, where: str) -> Domain:
    if name not in known:
        hint = nearest(name, known) if known else "it has none here"
        raise UserError(f"{method} has no parameter '{name}': {hint} ({where})")
    return known[name][0]
