"""Parameters that do not change the recipe under a choice are told to the sampler."""

from __future__ import annotations

from toy_space import ToySpace

from evomerge.recipes.space import SearchSpace, default_methods
from evomerge.search.distributions import irrelevant
from evomerge.types import Expert


def test_parameters_that_a_method_does_not_have_are_irrelevant_under_it():
    experts = (Expert("a", "experts/a"), Expert("b", "experts/b"))
    space = SearchSpace("base", experts, default_methods(True), layer_groups=2, weight_range=(0.0, 1.5))
    found = {choice: sorted(names) for (_, choice), names in irrelevant(space).items()}
    densities = ["density.a", "density.b"]
    assert found["core_task_arithmetic"] == found["linear"] == [*densities, "scale"]
    assert found["core_tsv"] == densities
    assert found["ties"] == found["dare_ties"] == ["scale"]


def test_where_everything_matters_nothing_is_irrelevant():
    assert set(irrelevant(ToySpace()).values()) == {frozenset()}
