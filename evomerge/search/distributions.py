"""Translate a space's parameters into Optuna's distributions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from evomerge.search.base import Parameter

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
