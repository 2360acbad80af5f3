"""Estimate which settings go along with a good candidate, and show how rough the estimate is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evomerge.report.run_data import RunData

FEWEST = 12  # searched candidates; fewer show nothing
_SHUFFLES = 1000
_BINS = 3


@dataclass(frozen=True)
class Importance:
    """One setting.

    Attributes:
        name: the search parameter in words.
        share: share of the variance of the candidates' ranks (by smallest retention) between the setting's values.
        chance: value that ``share`` exceeds once in twenty if the setting means nothing.
        best: values of the best group, in words.
    """

    name: str
    share: float
    chance: float
    best: str


def importances(run: RunData) -> tuple[int, list[Importance]]:
    """Number of candidates, and the importance of each setting, largest first.

    The correlation ratio (Pearson 1905) of ranks: numbers fall into thirds, so that a best middle shows, too;
    with categories this is the Kruskal-Wallis statistic over N - 1. ``chance`` is the 95 % quantile under permutation.
    Anchors are left out: base and single experts, at weights of 0 and 1, would dominate the result.
    """
    trials = [trial for trial in run.scored if trial.label is None]
    if len(trials) < FEWEST:
        return len(trials), []
    ranks = _ranks(np.array([run.min_retention(trial) for trial in trials]))
    if np.ptp(ranks) == 0:
        return len(trials), []
    shuffled = np.random.default_rng(0).permuted(np.tile(ranks, (_SHUFFLES, 1)), axis=1)
    found = []
    for name in trials[0].params:
        groups = _groups([trial.params.get(name) for trial in trials])
        if len(groups) < 2:
            continue
        members = np.stack([mask for _, mask in groups])
        share = float(_between(ranks[None], members)[0])
        chance = float(np.quantile(_between(shuffled, members), 0.95))
        best = max(groups, key=lambda group: float(ranks[group[1]].mean()))[0]
        found.append(Importance(_readable(name), share, chance, best))
    return len(trials), sorted(found, key=lambda entry: -entry.share)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks 1 .. N; equal values share their mean rank. SciPy has this, but importing it takes longer than the rest."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return np.asarray((last - (counts - 1) / 2)[place])


def _readable(name: str) -> str:
    """
    >>> _readable("weight.g0.sql"), _readable("density.sql"), _readable("scale")
    ('weight of sql, group 1', 'density of sql', 'scale')
    """
    kind, _, rest = name.partition(".")
    group, _, expert = rest.partition(".")
    if kind == "weight" and group[:1] == "g" and group[1:].isdigit() and expert:
        return f"weight of {expert}, group {int(group[1:]) + 1}"
    return f"{kind} of {rest}" if rest else kind


def _groups(values: list[Any]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Each category, or thirds of the numbers (equal numbers stay together), with the mask (N,) of its members."""
    if any(isinstance(value, (str, bool)) or value is None for value in values):
        names = [str(value) for value in values]
        return [(name, np.array([own == name for own in names])) for name in sorted(set(names))]
    numbers = np.array(values, dtype=np.float64)
    place = np.ceil(_BINS * _ranks(numbers) / len(numbers)).astype(int)
    masks = [place == part for part in sorted(set(place.tolist()))]
    return [(f"{numbers[mask].min():.2f} to {numbers[mask].max():.2f}", mask) for mask in masks]


def _between(ranks: NDArray[np.float64], members: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share (K,) of the variance of each row of ``ranks`` (K, N) between the groups of ``members`` (G, N)."""
    sizes = members.sum(axis=1)
    means = ranks @ members.T.astype(np.float64) / sizes
    centre = ranks.mean(axis=1, keepdims=True)
    return np.asarray(((means - centre) ** 2 @ sizes) / ((ranks - centre) ** 2).sum(axis=1))
