"""Search space: a fixed list of named parameters, and the recipe that their values mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evomerge.errors import UserError, nearest
from evomerge.merging.modifiers import MODIFIERS
from evomerge.merging.parameters import Range
from evomerge.merging.registry import METHODS, MergeMethod
from evomerge.recipes.duplicate_experts import check_models
from evomerge.recipes.profiles import FLAT, WEIGHT_STEP, Profile, by_group, multipliers_of, weigh
from evomerge.recipes.untuned_merges import additive, alone, untuned_merges
from evomerge.recipes.validate import check
from evomerge.types import Expert, Recipe

PARAMETER_STEP = 1e-2
_FOR_ADAPTERS = ("core_task_arithmetic", "core_tsv", "linear", "ties", "dare_linear", "dare_ties", "slerp")
_FOR_ANY = ("task_arithmetic", "linear", "ties", "dare_linear", "dare_ties", "slerp")


def default_methods(adapters: bool) -> tuple[str, ...]:
    """Methods searched by default.

    Args:
        adapters: whether all experts are LoRA adapters. Then core space exists, and core_task_arithmetic replaces
            task_arithmetic, which gives the same model.
    """
    return _FOR_ADAPTERS if adapters else _FOR_ANY


@dataclass(frozen=True)
class Parameter:
    """One searched dimension: ``float`` with low, high, step (None: continuous), or ``categorical`` with choices."""

    name: str
    kind: Literal["float", "categorical"]
    default: float | str
    low: float = 0.0
    high: float = 0.0
    step: float | None = None
    log: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class SearchSpace:
    """Recipes over fixed experts: the method, a weight per layer group and expert, and the methods' parameters.

    Attributes:
        base: model name of the base.
        experts: T experts.
        methods: methods to choose from; those that cannot merge T experts are left out.
        layer_groups: G, the number of equal runs of layers that have their own weights.
        weight_range: smallest and largest weight, multiples of 0.001.
        seed: seed of random masks, in every recipe.
        dtype: dtype of the merged model.
        modifiers: modifiers of every recipe; their parameters are searched.
        profiles: choices of the parameter ``profile`` beside ``flat``; then the weights of a group are multipliers.
    """

    base: str
    experts: tuple[Expert, ...]
    methods: tuple[str, ...]
    layer_groups: int = 1
    weight_range: tuple[float, float] = (0.0, 1.0)
    seed: int = 0
    dtype: str = "bfloat16"
    modifiers: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()

    def __post_init__(self) -> None:
        if not self.experts:
            raise UserError("a search space needs at least one expert, got none (space: experts)")
        names = [expert.name for expert in self.experts]
        if len(set(names)) != len(names):
            raise UserError(f"experts need different names, got {', '.join(names)} (space: experts)")
        needs_base = any(METHODS[name].needs_base for name in self.methods)
        check_models(self.base, self.experts, needs_base, "space: experts")
        if isinstance(self.layer_groups, bool) or self.layer_groups < 1:
            raise UserError(f"layer_groups must be at least 1, got {self.layer_groups} (space: layer_groups)")
        low, high = self.weight_range
        if not low < high or any(abs(w / WEIGHT_STEP - round(w / WEIGHT_STEP)) > 1e-6 for w in (low, high)):
            raise UserError(
                f"weight_range must be [low, high], low < high, multiples of {WEIGHT_STEP:g},"
                f" got [{low:g}, {high:g}] (space: weight_range)"
            )
        chosen = tuple(name for name in dict.fromkeys(self.methods) if METHODS[name].takes(len(names)))
        if not chosen:
            asked = ", ".join(self.methods) or "none"
            fitting = ", ".join(name for name in METHODS if METHODS[name].takes(len(names)))
            raise UserError(
                f"no method can merge {len(names)} experts, got {asked}: choose from {fitting} (space: methods)"
            )
        for name in chosen:
            if low < 0 and METHODS[name].relative_weights:
                raise UserError(
                    f"{name} divides by the sum of the weights, so weight_range must start at 0 or above,"
                    f" got [{low:g}, {high:g}]: leave {name} out (space: methods) or change space: weight_range"
                )
        object.__setattr__(self, "methods", chosen)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The dimensions, always in the same order: method, profile, weights, parameters per expert, shared ones."""
        low, high = self.weight_range
        middle = _on_grid((low + high) / 2, low, high, WEIGHT_STEP)
        found: list[Parameter] = []
        if len(self.methods) > 1:
            found.append(Parameter("method", "categorical", self.methods[0], choices=self.methods))
        if self.profiles:
            names = (FLAT, *(profile.name for profile in self.profiles))
            found.append(Parameter("profile", "categorical", FLAT, choices=names))
        found += [
            Parameter(f"weight.g{group}.{expert.name}", "float", middle, low, high, WEIGHT_STEP)
            for group in range(self.layer_groups)
            for expert in self.experts
        ]
        for name, (bounds, default) in self._schema("expert_parameters").items():
            found += [_float(f"{name}.{expert.name}", bounds, default) for expert in self.experts]
        for name, (bounds, default) in self._schema("parameters").items():
            found.append(_float(name, bounds, default))
        for modifier in self.modifiers:
            for name, (bounds, default) in MODIFIERS[modifier].parameters.items():
                found.append(_float(f"{modifier}.{name}", bounds, default))
        return tuple(found)

    def decode(self, params: Mapping[str, Any]) -> Recipe:
        """The recipe that ``params`` (parameter name -> value) stand for.

        Equal models get equal fingerprints. Parameters that the method does not have are dropped, and so are those of
        experts with weight 0; relative weights are brought to one common factor.

        Raises:
            UserError: a parameter is missing, unknown or out of range.
        """
        values = self._checked(params)
        method = METHODS[values.get("method", self.methods[0])]
        weights = self._weights(values, method)
        present = [any(row[t] for row in weights) for t in range(len(self.experts))]
        recipe = Recipe(
            base=self.base,
            experts=self.experts,
            method=method.name,
            weights=weights,
            expert_parameters={
                name: tuple(
                    values[f"{name}.{expert.name}"] if here and domain.searched else default
                    for expert, here in zip(self.experts, present, strict=True)
                )
                for name, (domain, default) in method.expert_parameters.items()
            },
            parameters={name: values[name] for name, (domain, _) in method.parameters.items() if domain.searched},
            modifiers={
                modifier: {name: values[f"{modifier}.{name}"] for name in MODIFIERS[modifier].parameters}
                for modifier in self.modifiers
            },
            seed=self.seed,
            dtype=self.dtype,
        )
        return check(recipe, "space")

    def encode(self, recipe: Recipe) -> dict[str, Any]:
        """Parameters, on the grid, that stand for ``recipe``; those its method does not have get their defaults.

        Raises:
            UserError: its experts, method or layer groups are not those of the space, or a value is out of range.
        """
        if [expert.name for expert in recipe.experts] != [expert.name for expert in self.experts]:
            asked, here = (", ".join(e.name for e in experts) for experts in (recipe.experts, self.experts))
            raise UserError(f"the recipe's experts must be those of the search space ({here}), got {asked}")
        if recipe.method not in self.methods:
            raise UserError(f"method '{recipe.method}' is not searched: {nearest(recipe.method, self.methods)}")
        profile, rows = self._multipliers(recipe)
        if set(recipe.modifiers) != set(self.modifiers):
            here, there = (", ".join(names) or "none" for names in (self.modifiers, recipe.modifiers))
            raise UserError(f"the recipe must have the modifiers of the search space ({here}), got {there}")
        given: dict[str, Any] = {"method": recipe.method, "profile": profile, **recipe.parameters}
        for t, expert in enumerate(self.experts):
            given |= {f"weight.g{group}.{expert.name}": row[t] for group, row in enumerate(rows)}
            given |= {f"{name}.{expert.name}": values[t] for name, values in recipe.expert_parameters.items()}
        for modifier, numbers in recipe.modifiers.items():
            given |= {f"{modifier}.{name}": value for name, value in numbers.items()}
        return self._checked({p.name: _snap(p, given.get(p.name, p.default)) for p in self.parameters})

    def anchors(self) -> list[tuple[str, Recipe]]:
        """Labelled recipes that every search starts from: the merges that people make without tuning, and the profiles
        made for a method. Recipes outside the space are left out. Each is a point of the space: ``encode`` gives the
        parameters to enqueue.
        """
        low, high = self.weight_range
        found = [
            (merge.label, self.decode(self.encode(self._plain(merge.method, merge.weights, merge.density))))
            for merge in untuned_merges(self.methods, self._names)
            if all(low <= weight <= high for weight in merge.weights)
        ]
        for profile in self.profiles:
            if profile.method in self.methods and low <= 1.0 <= high:
                flat = self.encode(self._plain(profile.method, (1.0,) * len(self.experts), None))
                found.append((profile.name, self.decode(flat | {"profile": profile.name})))
        return found

    def references(self) -> dict[str, Recipe]:
        """Each expert alone, labelled as its anchor is. An expert whose weights the space does not hold is no anchor,
        and other merges are measured against it all the same."""
        anchors, method = dict(self.anchors()), additive(self.methods) or self.methods[0]
        return {
            label: anchors.get(label) or self._plain(method, row, None)
            for label, row in alone(self._names).items()
            if label != "base"
        }

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(expert.name for expert in self.experts)

    def _weights(self, values: Mapping[str, Any], method: MergeMethod) -> tuple[tuple[float, ...], ...]:
        """Weights (G, T), or (L, T) where the profile gives the layers of a group different ones."""
        rows = tuple(
            tuple(values[f"weight.g{group}.{expert.name}"] for expert in self.experts)
            for group in range(self.layer_groups)
        )
        profile = next((own for own in self.profiles if own.name == values.get("profile")), None)
        if profile is None:
            return tuple(self._canonical(row, method) for row in rows)
        layers = tuple(self._canonical(row, method) for row in weigh(profile, rows))
        return by_group(layers, self.layer_groups)

    def _multipliers(self, recipe: Recipe) -> tuple[str, tuple[tuple[float, ...], ...]]:
        """The profile, and the multipliers (G, T), that give the recipe's weights."""
        if len(recipe.weights) in (1, self.layer_groups):
            return FLAT, recipe.weights * (self.layer_groups // len(recipe.weights))
        for profile in self.profiles:
            found = multipliers_of(profile, recipe.weights, self.layer_groups, *self.weight_range)
            if found is not None:
                return profile.name, found
        groups = f"1 or {self.layer_groups}" if self.layer_groups > 1 else "1"
        more = ", or those of a profile" if self.profiles else ""
        raise UserError(f"the recipe must have {groups} layer groups{more}, got {len(recipe.weights)}")

    def _canonical(self, row: tuple[float, ...], method: MergeMethod) -> tuple[float, ...]:
        """Relative weights scaled to one representative of their ratio: the largest on the grid and in the range."""
        units = [round(weight / WEIGHT_STEP) for weight in row]
        common = math.gcd(*units)
        if not method.relative_weights or common == 0:
            return row
        # a profile may weigh more than the range: such a ratio stays as it is
        most = max(1, round(self.weight_range[1] / WEIGHT_STEP) // (max(units) // common))
        return tuple(round(unit // common * most * WEIGHT_STEP, 9) for unit in units)

    def _plain(self, name: str, row: Sequence[float], density: float | None) -> Recipe:
        """A recipe with one row of weights for all layers and the method's defaults."""
        method = METHODS[name]
        return Recipe(
            base=self.base,
            experts=self.experts,
            method=name,
            weights=(tuple(row),) * self.layer_groups,
            expert_parameters={
                key: (default if density is None else density,) * len(self.experts)
                for key, (_, default) in method.expert_parameters.items()
            },
            parameters={key: default for key, (_, default) in method.parameters.items()},
            modifiers={m: {k: d for k, (_, d) in MODIFIERS[m].parameters.items()} for m in self.modifiers},
            seed=self.seed,
            dtype=self.dtype,
        )

    def _schema(self, which: Literal["expert_parameters", "parameters"]) -> dict[str, tuple[Range, float]]:
        """Searched parameters of all methods to choose from; methods share a parameter of one name."""
        merged: dict[str, tuple[Range, float]] = {}
        for method in self.methods:
            for name, (domain, default) in getattr(METHODS[method], which).items():
                if isinstance(domain, Range) and domain.searched:
                    entry = (domain, default)
                    assert merged.setdefault(name, entry) == entry, f"methods disagree about {name}"
        return merged

    def _checked(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """All parameters, floats on the grid; unknown, missing or out of range is a UserError."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in params:
            if name not in known:
                raise UserError(f"unknown search parameter '{name}': {nearest(name, known)}")
        values: dict[str, Any] = {}
        for name, parameter in known.items():
            if name not in params:
                raise UserError(f"search parameter '{name}' is missing; this space has {len(known)} parameters")
            value = params[name]
            if parameter.kind == "categorical":
                if value not in parameter.choices:
                    raise UserError(f"{name} must be one of {', '.join(parameter.choices)}, got '{value}'")
                values[name] = value
            else:
                if not parameter.low - 1e-9 <= value <= parameter.high + 1e-9:
                    raise UserError(f"{name} must be in [{parameter.low:g}, {parameter.high:g}], got {value:g}")
                values[name] = _snap(parameter, value)
        return values


def _float(name: str, bounds: Range, default: float) -> Parameter:
    step = 1.0 if bounds.whole else None if bounds.log else PARAMETER_STEP
    return Parameter(name, "float", default, bounds.low, bounds.high, step, bounds.log)


def _snap(parameter: Parameter, value: Any) -> Any:
    """``value`` on the parameter's grid, when it is in range; anything else as it is."""
    if parameter.step is None or not parameter.low <= value <= parameter.high:
        return value
    return _on_grid(value, parameter.low, parameter.high, parameter.step)


def _on_grid(value: float, low: float, high: float, step: float) -> float:
    return min(high, round(low + round((value - low) / step) * step, 9))
