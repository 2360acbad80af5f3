"""Each ablation changes its part of the recipe and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from evomerge.analysis.ablations import ablations, flat, scaled, unmodified, with_method, with_weights, without
from evomerge.errors import UserError
from evomerge.merging.registry import METHODS
from evomerge.recipes.space import SearchSpace
from evomerge.recipes.validate import check
from evomerge.types import Expert, Recipe

NAMES = ("sql", "code", "json")
TIES = Recipe(
    base="base",
    experts=tuple(Expert(name, f"experts/{name}") for name in NAMES),
    method="ties",
    weights=((0.2, 0.4, 0.6), (0.6, 0.4, 0.0)),
    expert_parameters={"density": (0.1, 0.2, 0.3)},
    modifiers={"lines": {"alpha": 0.5, "beta": 0.5}},
    seed=3,
)


def test_names_of_all_ablations() -> None:
    assert list(ablations(TIES)) == [
        "without sql", "without code", "without json", "flat layers", "no lines", "by task_arithmetic", "by linear",
        "by dare_linear", "weights x 0.5",
    ]  # fmt: skip


def test_every_ablation_is_another_valid_recipe_of_the_same_models() -> None:
    found = ablations(TIES, factors=(0.5, 2.0))
    prints = {recipe.fingerprint for recipe in found.values()} | {TIES.fingerprint}
    assert len(prints) == len(found) + 1
    for recipe in found.values():
        assert check(recipe) is recipe
        assert (recipe.base, recipe.seed, recipe.dtype) == (TIES.base, TIES.seed, TIES.dtype)
        assert set(recipe.experts) <= set(TIES.experts)


def test_without_an_expert_the_others_stay_as_they_are() -> None:
    recipe = without(TIES, "code")
    assert [expert.name for expert in recipe.experts] == ["sql", "json"]
    assert recipe.weights == ((0.2, 0.6), (0.6, 0.0))
    assert recipe.expert_parameters == {"density": (0.1, 0.3)}


def test_an_expert_that_the_method_needs_gets_weight_zero() -> None:
    pair = with_method(without(TIES, "json"), "slerp")
    assert without(pair, "sql").weights == ((0.0, 0.4), (0.0, 0.4))
    assert len(without(pair, "sql").experts) == 2


def test_flat_layers_have_the_mean() -> None:
    assert flat(TIES).weights == ((0.4, 0.4, 0.3),)


def test_scaled_and_plain_weights() -> None:
    assert scaled(TIES, 0.5).weights == ((0.1, 0.2, 0.3), (0.3, 0.2, 0.0))
    assert with_weights(TIES, 1, 0, 0.5).weights == ((1, 0, 0.5),)


def test_another_method_keeps_weights_and_shared_parameters() -> None:
    recipe = with_method(TIES, "dare_linear")
    assert recipe.weights == TIES.weights and recipe.expert_parameters["density"] == (0.1, 0.2, 0.3)
    assert with_method(TIES, "dare_linear", density=0.5).expert_parameters["density"] == (0.5, 0.5, 0.5)
    assert with_method(recipe, "ties", average="weight").parameters["average"] == "weight"
    plain = with_method(TIES, "task_arithmetic")
    assert set(plain.expert_parameters) == set(METHODS["task_arithmetic"].expert_parameters)


def test_methods_of_a_space_stay_in_the_space() -> None:
    space = SearchSpace("base", TIES.experts, ("task_arithmetic", "ties", "dare_linear"), layer_groups=2)
    recipe = space.anchors()[-1][1]
    for method in space.methods:
        other = with_method(recipe, method)
        assert space.decode(space.encode(other)).fingerprint == other.fingerprint


def test_what_changes_nothing_is_left_out() -> None:
    plain = with_weights(replace(with_method(TIES, "linear"), modifiers={}), 0.2, 0.3, 0.5)
    assert not {"flat layers", "weights x 0.5", "by linear"} & ablations(plain).keys()
    core = with_method(plain, "core_task_arithmetic")
    assert "by task_arithmetic" not in ablations(core) and "by linear" in ablations(core)


def test_methods_that_cannot_merge_these_are_left_out() -> None:
    negative = with_weights(TIES, -1, 0.5, 0.5)
    assert "by linear" not in ablations(negative) and "by task_arithmetic" in ablations(negative)
    assert "by slerp" not in ablations(TIES, methods={"slerp": {}})


def test_one_expert_cannot_be_dropped() -> None:
    alone = without(without(TIES, "sql"), "code")
    assert not [name for name in ablations(alone) if name.startswith("without")]
    with pytest.raises(UserError, match="only expert"):
        without(alone, "json")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: without(TIES, "sq"), "did you mean 'sql'"),
        (lambda: with_method(TIES, "tise"), "did you mean 'ties'"),
        (lambda: with_method(TIES, "dare_linear", densty=0.5), "did you mean 'density'"),
        (lambda: with_method(TIES, "ties", density=1.5), "density"),
        (lambda: with_weights(TIES, 0.5), "3 values"),
        (lambda: unmodified(TIES, "svc"), "no modifier 'svc'"),
        (lambda: ablations(TIES, methods={"tise": {}}), "did you mean 'ties'"),
    ],
)
def test_errors_say_what_is_wrong(call, said: str) -> None:
    with pytest.raises(UserError, match=said):
        call()
