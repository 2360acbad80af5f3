"""Vary one recipe: take out an expert, flatten the layers, change the method, to see what each part is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

from evomerge.errors import UserError, nearest
from evomerge.merging.modifiers import MODIFIERS
from evomerge.merging.parameters import Value
from evomerge.merging.registry import METHODS
from evomerge.recipes.validate import check
from evomerge.types import Recipe

T = TypeVar("T")

#: Methods that merge experts of any kind, each with settings that differ from its defaults.
OTHER_METHODS: Mapping[str, Mapping[str, Any]] = {
    "task_arithmetic": {},
    "linear": {},
    "ties": {"density": 0.5},
    "dare_linear": {"density": 0.5},
}
# Methods that give the same model: the weighted sum of the experts' deltas.
_SUMS = frozenset({"task_arithmetic", "core_task_arithmetic"})


def ablations(
    recipe: Recipe,
    methods: Mapping[str, Mapping[str, Any]] = OTHER_METHODS,
    factors: tuple[float, ...] = (0.5,),
) -> dict[str, Recipe]:
    """The recipe's ablations by name, for example ``without sql``, ``flat layers``, ``by ties``, ``weights x 0.5``.

    Ablations that give the same model are left out (flat layers if all groups have equal weights, scaled weights if the
    method divides by their sum), and so are methods that cannot merge these experts with these weights.

    Args:
        recipe: the recipe to vary; it is not among the results.
        methods: settings by method name; each replaces the recipe's method.
        factors: factors of all weights.

    Raises:
        UserError: an unknown method, or a setting that it does not have.
    """
    found: dict[str, Recipe] = {}
    if len(recipe.experts) > 1:
        found |= {f"without {expert.name}": without(recipe, expert.name) for expert in recipe.experts}
    if len(set(recipe.weights)) > 1:
        found["flat layers"] = flat(recipe)
    found |= {f"no {modifier}": unmodified(recipe, modifier) for modifier in recipe.modifiers}
    for name, settings in methods.items():
        if name == recipe.method or {name, recipe.method} == _SUMS or not _fits(name, recipe):
            continue
        found[f"by {name}"] = with_method(recipe, name, **settings)
    if not METHODS[recipe.method].is_relative(recipe.parameters):
        found |= {f"weights x {factor:g}": scaled(recipe, factor) for factor in factors}
    return found


def without(recipe: Recipe, expert: str) -> Recipe:
    """The recipe without one of its experts; the others keep their weights and parameters.

    If the method does not take one expert fewer, the expert stays with weight 0.

    Raises:
        UserError: the recipe has no such expert, or no other expert.
    """
    names = [own.name for own in recipe.experts]
    if expert not in names:
        raise UserError(f"the recipe has no expert '{expert}': {nearest(expert, names)}")
    if len(names) == 1:
        raise UserError(f"'{expert}' is the recipe's only expert: without it there is nothing to merge")
    out = names.index(expert)
    if not METHODS[recipe.method].takes(len(names) - 1):
        weights = tuple(tuple(0.0 if t == out else w for t, w in enumerate(row)) for row in recipe.weights)
        return check(replace(recipe, weights=weights))
    return check(
        replace(
            recipe,
            experts=_but(recipe.experts, out),
            weights=tuple(_but(row, out) for row in recipe.weights),
            expert_parameters={name: _but(values, out) for name, values in recipe.expert_parameters.items()},
        )
    )


def flat(recipe: Recipe) -> Recipe:
    """One weight per expert in all layers: the mean over its layer groups."""
    columns = zip(*recipe.weights, strict=True)
    return check(replace(recipe, weights=(tuple(round(sum(c) / len(c), 6) for c in columns),)))


def with_weights(recipe: Recipe, *weights: float) -> Recipe:
    """One weight for each expert, in their order, in all layers."""
    return check(replace(recipe, weights=(tuple(weights),)))


def scaled(recipe: Recipe, factor: float) -> Recipe:
    """All weights times ``factor``: a shorter or longer step in the same direction."""
    return check(replace(recipe, weights=tuple(tuple(round(w * factor, 6) for w in row) for row in recipe.weights)))


def with_method(recipe: Recipe, method: str, **settings: Any) -> Recipe:
    """Another method with the same weights, which it reads in its own way (``linear`` divides by their sum).

    Parameters that both methods have keep their values; the others and the options get the method's defaults.

    Args:
        recipe: gives experts, weights, modifiers, seed and dtype.
        method: name of a registered method.
        settings: parameters of the method; a per-expert one is a number for all or a sequence of T.

    Raises:
        UserError: an unknown method or parameter, or a value or weights that the method refuses.
    """
    own = METHODS[method]
    for name in settings:
        if name not in (known := (*own.expert_parameters, *own.parameters)):
            raise UserError(f"{method} has no parameter '{name}': {nearest(name, known) if known else 'it has none'}")
    each = {name: default for name, (_, default) in own.expert_parameters.items()}
    kept = {name: values for name, values in recipe.expert_parameters.items() if name in each}
    shared: dict[str, Value] = {
        name: recipe.parameters.get(name, default)
        for name, (domain, default) in own.parameters.items()
        if domain.searched  # options are stated only if they differ from the default
    }
    given = {name: _each(settings[name], len(recipe.experts)) for name in each if name in settings}
    return check(
        replace(
            recipe,
            method=method,
            expert_parameters={name: (default,) * len(recipe.experts) for name, default in each.items()} | kept | given,
            parameters=shared | {name: value for name, value in settings.items() if name not in each},
        )
    )


def unmodified(recipe: Recipe, modifier: str) -> Recipe:
    """The recipe without one of its modifiers.

    Raises:
        UserError: it has no such modifier.
    """
    if modifier not in recipe.modifiers:
        known = ", ".join(recipe.modifiers) or "none"
        raise UserError(f"the recipe has no modifier '{modifier}' (it has: {known}; there are {', '.join(MODIFIERS)})")
    return replace(recipe, modifiers={name: own for name, own in recipe.modifiers.items() if name != modifier})


def _fits(method: str, recipe: Recipe) -> bool:
    """Whether the method can merge as many experts, and divide by these weights."""
    own = METHODS[method]
    negative = any(weight < 0 for row in recipe.weights for weight in row)
    return own.takes(len(recipe.experts)) and not (own.relative_weights and negative)


def _but(values: tuple[T, ...], place: int) -> tuple[T, ...]:
    return values[:place] + values[place + 1 :]


def _each(value: Any, count: int) -> tuple[float, ...]:
    return (float(value),) * count if isinstance(value, int | float) else tuple(value)
