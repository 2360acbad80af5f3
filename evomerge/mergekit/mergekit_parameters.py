"""Translate an evomerge method's weights and parameters into mergekit's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evomerge.errors import UserError
from evomerge.mergekit.config import Scalar
from evomerge.mergekit.methods import METHODS, Method

# Task vector methods that elect a sign per entry, and so divide by the agreeing experts' weights.
_ELECTING = frozenset({"ties", "dare_ties", "della", "breadcrumbs_ties"})
# Sparsifiers whose 1 / density differs between entries, so that no weight can replace it.
_UNEVEN = frozenset({"della", "della_linear"})


@dataclass(frozen=True)
class Spelling:
    """mergekit's parameters for one run of layers.

    Attributes:
        experts: parameters of each expert.
        shared: parameters of the method.
        base: parameters of the base if it is one of the merged models; None if not.
    """

    experts: tuple[Mapping[str, Scalar], ...]
    shared: Mapping[str, Scalar]
    base: Mapping[str, Scalar] | None = None


def spelled(
    name: str,
    weights: Sequence[float],
    expert_parameters: Mapping[str, Sequence[float]],
    parameters: Mapping[str, float | str | bool],
    relative_weights: bool,
) -> Spelling:
    """mergekit's parameters for the same merge.

    Args:
        name: name of the method in evomerge and mergekit.
        weights: weights (T,) of one layer group.
        expert_parameters, parameters: values of all of evomerge's parameters.
        relative_weights: whether the evomerge method uses only the ratios of the weights.

    Raises:
        UserError: mergekit cannot express this merge.
    """
    method = METHODS[name]
    if name == "slerp":
        return _slerp(weights)
    if name == "linear":
        return _linear(weights, parameters["average"])
    if method.normalize == "normalize":
        return _task_vectors(method, weights, expert_parameters, parameters)
    if any(p.name == "weight" for p in method.parameters):
        if relative_weights and not any(weights):
            raise UserError(f"mergekit's {name} needs a weight other than 0 in every layer group, got none")
        each: list[Mapping[str, Scalar]] = [{"weight": _tidy(weight)} for weight in weights]
        return Spelling(tuple(each), _renamed(method, parameters))
    expected = weights[0] if relative_weights and weights[0] else 1.0
    if any(weight != expected for weight in weights):
        wanted = "equal weights" if relative_weights else "weight 1 for each expert"
        raise UserError(
            f"mergekit's {name} has no weights, so a recipe needs {wanted}, got {', '.join(f'{w:g}' for w in weights)}"
        )
    if name == "passthrough":
        return Spelling(({"scale": _tidy(parameters["scale"])},), {})
    return Spelling(tuple({} for _ in weights), _renamed(method, parameters))


def _slerp(weights: Sequence[float]) -> Spelling:
    total = sum(weights)
    if not total:
        raise UserError("mergekit's slerp needs a weight other than 0 in every layer group, got none")
    return Spelling(({}, {}), {"t": _tidy(weights[1] / total)})


def _linear(weights: Sequence[float], average: Any) -> Spelling:
    each: tuple[Mapping[str, Scalar], ...] = tuple({"weight": _tidy(weight)} for weight in weights)
    if any(weights):
        return Spelling(each, {"normalize": average == "weight"})
    # If all weights are 0, evomerge gives the base. mergekit would divide by 0, so the base gets weight 1.
    return Spelling(each, {"normalize": average == "weight"}, {"weight": 1.0})


def _task_vectors(
    method: Method,
    weights: Sequence[float],
    expert_parameters: Mapping[str, Sequence[float]],
    parameters: Mapping[str, Any],
) -> Spelling:
    """mergekit's weights, normalize, rescale and lambda that equal evomerge's average, rescale and scale.

    A factor 1 / density on an expert's delta becomes part of its weight; a mean over the number of agreeing experts is
    mergekit's mean over their weights, if these are equal, times the weight as lambda.
    """
    name = method.name
    electing = name in _ELECTING
    thins = any(p.name == "density" and p.to for p in method.parameters)
    average, scale = parameters["average"], float(parameters["scale"])
    rescale = parameters["rescale"] if thins else "none"
    densities = expert_parameters["density"] if thins else [1.0] * len(weights)
    factors = [1.0] * len(weights)
    if rescale == "density":
        if name in _UNEVEN and any(density < 1.0 for density in densities):
            raise UserError(
                f"mergekit's {name} cannot rescale each entry by its own probability, as rescale: density does:"
                " use rescale: l1 or none"
            )
        factors = [1.0 / density for density in densities]
    present = [i for i, weight in enumerate(weights) if weight]
    normalize = False
    if not present:
        spoken = list(weights)
    elif average == "sum" or not electing:
        spoken = [weight * factor for weight, factor in zip(weights, factors, strict=True)]
        if average == "weight":  # no sign election: one divisor for all entries
            scale /= sum(weights)
    elif average == "weight":
        if any(abs(factors[i] / factors[present[0]] - 1.0) > 1e-9 for i in present):
            raise UserError(
                f"mergekit's {name} divides by weights that would hold 1 / density too: with average: weight and"
                " rescale: density the densities must be equal"
            )
        spoken, normalize, scale = list(weights), True, scale * factors[present[0]]
    else:
        spoken = [weight * factor for weight, factor in zip(weights, factors, strict=True)]
        common = spoken[present[0]]
        if any(abs(spoken[i] / common - 1.0) > 1e-9 for i in present):
            over = "weights" if rescale != "density" else "weights over their densities"
            raise UserError(
                f"mergekit's {name} cannot divide by the number of agreeing experts (average: count) unless their"
                f" {over} are equal, got {', '.join(f'{weight:g}' for weight in spoken)}: use average: weight or sum"
            )
        normalize, scale = True, scale * common
    shared: dict[str, Scalar] = {"normalize": normalize, "lambda": _tidy(scale)}
    if thins:
        shared["rescale"] = rescale == "l1"
    own = [p.name for p in method.parameters if p.per_model and p.to]
    each: tuple[Mapping[str, Scalar], ...] = tuple(
        {"weight": _tidy(weight)} | {key: _tidy(expert_parameters[key][i]) for key in own}
        for i, weight in enumerate(spoken)
    )
    return Spelling(each, shared)


def _renamed(method: Method, parameters: Mapping[str, Any]) -> dict[str, Scalar]:
    """Shared parameters under mergekit's names."""
    names = {p.to: p for p in method.parameters if p.to and not p.per_model}
    found: dict[str, Scalar] = {}
    for key, value in parameters.items():
        if key in method.fixed:
            if value != method.fixed[key]:
                raise UserError(
                    f"mergekit's {method.name} has {key} {method.fixed[key]:g}, the recipe {value:g}: set it to that"
                )
            continue
        if key not in names:
            raise UserError(f"mergekit's {method.name} has no parameter like '{key}', which the recipe sets to {value}")
        found[names[key].name] = _tidy(value)
    return found


def _tidy(value: Any) -> Scalar:
    """Round numbers to 12 digits, which removes the noise of a division; return other values unchanged."""
    return float(f"{value:.12g}") if isinstance(value, float) else value  # type: ignore[no-any-return]
