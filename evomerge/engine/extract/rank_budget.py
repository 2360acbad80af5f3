"""Choose the rank of each matrix, by energy or from a common budget of parameters."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence


def rank_for_energy(values: Sequence[float], energy: float, share: float) -> int | None:
    """The smallest rank whose directions hold this fraction of the energy; None if all given values hold less.

    Args:
        values: singular values, descending; the smallest may be missing.
        energy: squared Frobenius norm of the whole matrix.
        share: fraction of the energy, in (0, 1].

    >>> rank_for_energy([3.0, 1.0, 0.5], 10.25, 0.9)
    2
    >>> rank_for_energy([3.0], 10.25, 0.9) is None
    True
    """
    kept = 0.0
    for rank, value in enumerate(values, start=1):
        kept += value * value
        # tolerance: the squares of float32 singular values miss the energy by about 1e-6 even if all are given
        if kept >= (share - 2e-6) * energy:
            return rank
    return None


def spread_budget(spectra: Mapping[str, Sequence[float]], costs: Mapping[str, int], budget: int) -> dict[str, int]:
    """Ranks that hold the most energy for ``budget`` parameters.

    Each step takes the direction with the most energy per parameter. Singular values descend, so this is optimal for
    every budget that the steps fill exactly. The rest of the budget goes to directions that still fit.

    Args:
        spectra: singular values of each matrix, descending.
        costs: number of parameters of one direction, m + n, of each matrix.
        budget: largest number of parameters.

    Returns:
        Rank of each matrix; 0 if it gets no direction.

    >>> spread_budget({"a": [3.0, 1.0], "b": [2.0, 1.9]}, {"a": 10, "b": 5}, 20)
    {'a': 1, 'b': 2}
    >>> spread_budget({"a": [3.0, 1.0], "b": [2.0, 1.9]}, {"a": 10, "b": 5}, 9)
    {'a': 0, 'b': 1}
    """
    ranks = dict.fromkeys(spectra, 0)

    def offer(name: str) -> tuple[float, str]:
        return -(spectra[name][ranks[name]] ** 2) / costs[name], name

    offers = [offer(name) for name in ranks if len(spectra[name])]
    heapq.heapify(offers)
    while offers:
        worth, name = heapq.heappop(offers)
        if costs[name] > budget or worth == 0.0:
            continue
        budget -= costs[name]
        ranks[name] += 1
        if ranks[name] < len(spectra[name]):
            heapq.heappush(offers, offer(name))
    return ranks
