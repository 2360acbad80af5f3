"""Profiles: weights per layer and expert that a search scales as a whole, instead of each layer by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evomerge.merging.modifiers import MODIFIERS

WEIGHT_STEP = 1e-3
FLAT = "flat"

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Profile:
    """The weight of layer l and expert t is ``weights[l][t]`` times the multiplier of the layer's group and the expert.

    Attributes:
        name: the choice of the search's parameter ``profile``; beside it stands ``flat``, 1 everywhere.
        weights: shape (L, T).
        method: the merge method that the profile was made for; None: any. With a method the profile itself, at
            multipliers 1, is an anchor.
    """

    name: str
    weights: Rows
    method: str | None = None


def lines_profile(layers: int, experts: int) -> Profile:
    """LiNeS (arXiv:2410.17146): weights that rise with depth, from the uniform average's 1/T in the first layer to 1 in
    the last: shallow layers hold what the tasks share."""
    low = 1 / experts
    depths = (layer / (layers - 1) if layers > 1 else 1.0 for layer in range(layers))
    rows = (MODIFIERS["lines"].function(depth, alpha=low, beta=1 - low) for depth in depths)
    return Profile("lines", tuple((on_grid(row),) * experts for row in rows))


def weigh(profile: Profile, multipliers: Rows) -> Rows:
    """Weights (L, T) on the grid, from multipliers (G, T)."""
    return tuple(
        tuple(on_grid(weight * factor) for weight, factor in zip(row, multipliers[group], strict=True))
        for row, group in zip(profile.weights, _groups(profile, len(multipliers)), strict=True)
    )


def by_group(rows: Rows, groups: int) -> Rows:
    """Weights (G, T) instead of (L, T) where all layers of each group have the same: equal models get equal recipes."""
    first = {layer * groups // len(rows): row for layer, row in reversed(list(enumerate(rows)))}
    same = all(first[layer * groups // len(rows)] == row for layer, row in enumerate(rows))
    return tuple(first[group] for group in range(groups)) if same else rows


def multipliers_of(profile: Profile, rows: Rows, groups: int, low: float, high: float) -> Rows | None:
    """Multipliers (G, T) in [low, high] by which the profile gives the weights (L, T); None if there are none."""
    if len(rows) != len(profile.weights):
        return None
    layers: list[list[int]] = [[] for _ in range(groups)]
    for layer, group in enumerate(_groups(profile, groups)):
        layers[group].append(layer)
    found = tuple(
        tuple(
            _multiplier([profile.weights[n][t] for n in own], [rows[n][t] for n in own], low, high)
            for t in range(len(rows[0]))
        )
        for own in layers
    )
    return found if weigh(profile, found) == rows else None


def on_grid(weight: float) -> float:
    return round(round(weight / WEIGHT_STEP) * WEIGHT_STEP, 9)


def _groups(profile: Profile, groups: int) -> Sequence[int]:
    """The group of each layer, as :func:`evomerge.engine.layer_groups.layer_group` cuts them."""
    return [layer * groups // len(profile.weights) for layer in range(len(profile.weights))]


def _multiplier(weights: Sequence[float], products: Sequence[float], low: float, high: float) -> float:
    """The middle, on the grid, of the factors that round ``weights`` to ``products``."""
    for weight, product in zip(weights, products, strict=True):
        if weight:
            ends = sorted(((product - WEIGHT_STEP / 2) / weight, (product + WEIGHT_STEP / 2) / weight))
            low, high = max(low, ends[0]), min(high, ends[1])
    return on_grid((low + high) / 2) if math.isfinite(low + high) else 0.0
