from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evomerge.engine.extract.rank_budget import rank_for_energy, spread_budget

spectra = st.dictionaries(
    st.sampled_from("abc"),
    st.lists(st.floats(0.01, 10), min_size=1, max_size=4).map(lambda values: sorted(values, reverse=True)),
    min_size=1,
)


@given(spectra, st.integers(0, 60))
def test_the_budget_is_kept_and_no_single_exchange_is_better(values, budget):
    costs = {name: 3 + ord(name) - ord("a") for name in values}
    ranks = spread_budget(values, costs, budget)
    spent = sum(ranks[name] * costs[name] for name in values)
    assert spent <= budget
    for name in values:  # whatever still fits was taken
        assert ranks[name] == len(values[name]) or spent + costs[name] > budget


@given(spectra, st.integers(1, 12))
def test_equal_prices_give_the_best_of_all_choices(values, steps):
    ranks = spread_budget(values, dict.fromkeys(values, 5), 5 * steps)

    def energy(chosen):
        return sum(v**2 for name, rank in zip(values, chosen, strict=True) for v in values[name][:rank])

    best = max(
        energy(choice)
        for choice in itertools.product(*(range(len(own) + 1) for own in values.values()))
        if sum(choice) <= steps
    )
    assert energy([ranks[name] for name in values]) == pytest.approx(best)


def test_energy_is_reached_by_the_smallest_rank():
    values = [4.0, 2.0, 1.0, 0.5]
    energy = sum(v * v for v in values)
    for share in (0.5, 0.76, 0.9, 0.99, 1.0):
        rank = rank_for_energy(values, energy, share)
        assert rank is not None
        assert sum(v * v for v in values[:rank]) >= (share - 1e-5) * energy
        assert sum(v * v for v in values[: rank - 1]) < share * energy
    assert rank_for_energy(values[:2], energy, 0.99) is None
