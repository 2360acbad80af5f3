"""Translate a study's parameters into points of the unit cube with categories, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from evomerge.search.surrogate.gaussian_process import Array, Categories

#: (name of a category, its choice) -> names of the numbers that do not matter under this choice.
Irrelevant = Mapping[tuple[str, Any], frozenset[str]]

_MIDDLE = 0.5  # where a number that does not matter lies: equal models are one point


class UnitCube:
    """D numbers in [0, 1] and K categories.

    Args:
        distributions: the searched parameters by name.
        irrelevant: numbers that do not matter under a choice, as the density of a method that has none.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution], irrelevant: Irrelevant) -> None:
        self.numbers = {n: d for n, d in distributions.items() if not isinstance(d, CategoricalDistribution)}
        self.categories = {n: d for n, d in distributions.items() if isinstance(d, CategoricalDistribution)}
        self.choices = tuple(len(d.choices) for d in self.categories.values())
        names = list(self.numbers)
        self._matters = [
            np.array([[n not in irrelevant.get((name, choice), ()) for n in names] for choice in kind.choices])
            for name, kind in self.categories.items()
        ]

    def points(self, params: Sequence[Mapping[str, Any]]) -> tuple[Array, Categories]:
        """Points of N mappings: numbers (N, D), categories (N, K)."""
        rows = [[_place(kind, own[name]) for name, kind in self.numbers.items()] for own in params]
        kinds = [[kind.choices.index(own[name]) for name, kind in self.categories.items()] for own in params]
        numbers = np.array(rows, dtype=np.float64).reshape(len(params), len(self.numbers))
        categories = np.array(kinds, dtype=np.int64).reshape(len(params), len(self.categories))
        return self.centred(numbers, categories), categories

    def centred(self, numbers: Array, categories: Categories) -> Array:
        """``numbers`` with those that do not matter in the middle of their range."""
        return np.where(self.matters(categories), numbers, _MIDDLE)

    def matters(self, categories: Categories) -> NDArray[np.bool_]:
        """Which numbers matter under the categories (B, K): shape (B, D)."""
        mask = np.ones((len(categories), len(self.numbers)), dtype=bool)
        for k, table in enumerate(self._matters):
            mask &= table[categories[:, k]]
        return mask

    def params(self, numbers: Array, categories: Categories) -> dict[str, Any]:
        """Parameters of one point: numbers (D,), categories (K,)."""
        values = {name: _value(kind, float(x)) for (name, kind), x in zip(self.numbers.items(), numbers, strict=True)}
        chosen = zip(self.categories.items(), categories, strict=True)
        return values | {name: kind.choices[int(c)] for (name, kind), c in chosen}


def _bounds(kind: BaseDistribution) -> tuple[float, float]:
    assert isinstance(kind, (FloatDistribution, IntDistribution))
    return (math.log(kind.low), math.log(kind.high)) if kind.log else (float(kind.low), float(kind.high))


def _place(kind: BaseDistribution, value: float) -> float:
    assert isinstance(kind, (FloatDistribution, IntDistribution))
    low, high = _bounds(kind)
    place = math.log(value) if kind.log else float(value)
    return (place - low) / (high - low) if high > low else _MIDDLE


def _value(kind: BaseDistribution, place: float) -> float | int:
    assert isinstance(kind, (FloatDistribution, IntDistribution))
    low, high = _bounds(kind)
    value = low + place * (high - low)
    value = math.exp(value) if kind.log else value
    if kind.step is not None and not kind.log:
        value = kind.low + round((value - kind.low) / kind.step) * kind.step
    value = float(min(max(value, kind.low), kind.high))
    return round(value) if isinstance(kind, IntDistribution) else value
