"""Translate a space's parameters into Optuna's distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from evomerge.search.base import Parameter, Space

# Optuna's GP walks a stepped dimension value by value, in Python: at 1000 steps one proposal takes a minute. Finer
# steps than this are searched as continuous and rounded afterwards.
_FEW_STEPS = 20


def distributions(parameters: Sequence[Parameter]) -> dict[str, BaseDistribution]:
    """Optuna's distribution of each parameter."""
    return {p.name: _distribution(p) for p in parameters}


def _distribution(p: Parameter) -> BaseDistribution:
    if p.kind == "categorical":
        return CategoricalDistribution(tuple(p.choices))
    few = p.step is not None and (p.high - p.low) / p.step <= _FEW_STEPS and not p.log
    return FloatDistribution(p.low, p.high, step=p.step if few else None, log=p.log)


def on_grid(parameters: Sequence[Parameter], params: Mapping[str, Any]) -> dict[str, Any]:
    """``params`` with each stepped parameter moved to its nearest step."""
    return {p.name: _nearest_step(p, params[p.name]) for p in parameters}


def _nearest_step(p: Parameter, value: Any) -> Any:
    if p.kind == "categorical" or p.step is None:
        return value
    last = int((p.high - p.low) / p.step + 1e-9)
    return round(p.low + min(max(round((value - p.low) / p.step), 0), last) * p.step, 9)


def irrelevant(space: Space) -> dict[tuple[str, str], frozenset[str]]:
    """(name of a categorical parameter, its choice) -> names of the numbers that do not change the recipe under it.

    A method that has no density gives one recipe for all densities. The space is asked by decoding two values of each
    number, beside two settings of the others.
    """
    numbers = [p for p in space.parameters if p.kind != "categorical"]
    kinds = [p for p in space.parameters if p.kind == "categorical"]
    first = {p.name: p.choices[0] for p in kinds}
    found = {}
    for kind in kinds:
        for choice in kind.choices:
            settings = [
                {**first, kind.name: choice, **{p.name: _at(p, 0.3 + shift + 0.01 * n) for n, p in enumerate(numbers)}}
                for shift in (0.0, 0.2)
            ]
            known = [space.decode(params).fingerprint for params in settings]
            found[kind.name, choice] = frozenset(
                p.name
                for p in numbers
                if all(
                    space.decode({**params, p.name: _at(p, 0.9)}).fingerprint == before
                    for params, before in zip(settings, known, strict=True)
                )
            )
    return found


def _at(p: Parameter, place: float) -> float:
    """The value at ``place`` of the range, modulo 1, on the grid."""
    return float(_nearest_step(p, p.low + (place % 1.0) * (p.high - p.low)))
