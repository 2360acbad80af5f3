"""Profiles weigh layers, and their multipliers are found again."""

from __future__ import annotations

import random

import pytest
from test_space import EXPERTS, draw, space

from evomerge.engine.layer_groups import layer_group
from evomerge.errors import UserError
from evomerge.merging.modifiers import lines
from evomerge.recipes.profiles import Profile, by_group, lines_profile, multipliers_of, weigh
from evomerge.recipes.recipe_yaml import dump, parse

LAYERS = 30
_rng = random.Random(5)
LEARNED = Profile(
    "learned", tuple(tuple(round(_rng.uniform(0.001, 1.5), 3) for _ in EXPERTS) for _ in range(LAYERS)), "core_tsv"
)
PROFILES = (lines_profile(LAYERS, 3), LEARNED)


def test_lines_rises_from_the_average_to_one_as_the_modifier_does():
    rows = lines_profile(LAYERS, 4).weights
    assert rows[0] == (0.25,) * 4 and rows[-1] == (1.0,) * 4
    for layer, row in enumerate(rows):
        assert row[0] == pytest.approx(lines.function(layer / (LAYERS - 1), alpha=0.25, beta=0.75), abs=5e-4)
    assert lines_profile(1, 2).weights == ((1.0, 1.0),)


@pytest.mark.parametrize("groups", [1, 4, 7, 30])
def test_a_layer_has_its_weight_times_the_multiplier_of_its_group(groups):
    factors = tuple(tuple(0.1 * (group + t + 1) for t in range(3)) for group in range(groups))
    for layer, row in enumerate(weigh(LEARNED, factors)):
        group = layer_group(f"model.layers.{layer}.mlp.up_proj.weight", groups, LAYERS)
        for t, weight in enumerate(row):
            assert weight == pytest.approx(LEARNED.weights[layer][t] * factors[group][t], abs=5.01e-4)
            assert round(weight * 1000, 6) == round(weight * 1000)


def test_equal_layers_of_a_group_are_one_row():
    rows = ((0.5, 1.0),) * 3 + ((0.1, 0.2),) * 2
    assert by_group(rows, 2) == ((0.5, 1.0), (0.1, 0.2))
    assert by_group(rows, 1) == rows
    assert by_group(((0.5, 1.0), (0.5, 1.1), (0.1, 0.2), (0.1, 0.2)), 2) == (
        (0.5, 1.0), (0.5, 1.1), (0.1, 0.2), (0.1, 0.2)
    )  # fmt: skip


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_multipliers_are_found_for_what_the_profile_can_give_and_for_nothing_else(profile):
    rng = random.Random(0)
    for _ in range(50):
        factors = tuple(tuple(round(rng.uniform(0, 1.5), 3) for _ in EXPERTS) for _ in range(4))
        rows = weigh(profile, factors)
        found = multipliers_of(profile, rows, 4, 0.0, 1.5)
        assert found is not None and weigh(profile, found) == rows
        assert all(0.0 <= factor <= 1.5 for row in found for factor in row)
    other = [list(row) for row in rows]
    other[3][1] += 0.4
    assert multipliers_of(profile, tuple(map(tuple, other)), 4, 0.0, 1.5) is None
    assert multipliers_of(profile, rows[:-1], 4, 0.0, 1.5) is None


METHODS = ("core_tsv", "core_task_arithmetic", "linear", "ties")


def test_a_space_with_profiles_has_one_more_parameter():
    plain, more = space(methods=METHODS), space(methods=METHODS, profiles=PROFILES)
    extra = [p for p in more.parameters if p not in plain.parameters]
    assert [(p.name, p.default, p.choices) for p in extra] == [("profile", "flat", ("flat", "lines", "learned"))]


@pytest.mark.parametrize("name", ["core_tsv", "core_task_arithmetic"])
def test_points_recipes_and_yaml_stand_for_each_other(name):
    rng, it = random.Random(0), space(methods=(name,), groups=4, profiles=PROFILES)
    seen = set()
    for _ in range(40):
        point = draw(it, rng)
        recipe = it.decode(point)
        seen.add((point["profile"], len(recipe.weights)))
        assert it.decode(it.encode(recipe)).fingerprint == recipe.fingerprint
        assert parse(dump(recipe)).fingerprint == recipe.fingerprint
    assert seen == {("flat", 4), ("lines", LAYERS), ("learned", LAYERS)}


def test_relative_weights_keep_their_ratio_in_each_layer_and_one_form():
    it = space(methods=("linear",), groups=2, profiles=PROFILES)
    names = [f"weight.g{group}.{expert.name}" for group in range(2) for expert in EXPERTS]
    point = {"profile": "learned", **dict.fromkeys(names, 0.4)}
    recipe = it.decode(point)
    double = it.decode(point | dict.fromkeys(names, 0.8))
    for row, twice, wanted in zip(recipe.weights, double.weights, LEARNED.weights, strict=True):
        for weights in (row, twice):
            assert [w / sum(weights) for w in weights] == pytest.approx([w / sum(wanted) for w in wanted], abs=4e-3)


def test_a_ratio_that_the_range_cannot_hold_is_kept():
    """The largest product is beyond the range of multipliers, and it must not become 0."""
    heavy = Profile("learned", ((1.5, 0.001),) * 4, None)
    it = space(2, methods=("linear",), groups=1, profiles=(heavy,))
    recipe = it.decode({"profile": "learned", "weight.g0.sql": 1.0, "weight.g0.code": 1.0})
    assert recipe.weights[0][0] / recipe.weights[0][1] == pytest.approx(1500)


def test_the_learned_profile_is_an_anchor():
    it = space(methods=METHODS, groups=4, profiles=PROFILES)
    plain = space(methods=METHODS, groups=4)
    *before, (label, recipe) = it.anchors()
    assert [(name, own.fingerprint) for name, own in before] == [(n, own.fingerprint) for n, own in plain.anchors()]
    assert label == "learned" and recipe.method == "core_tsv" and recipe.weights == LEARNED.weights
    assert it.encode(recipe) | {"method": "core_tsv"} == it.encode(recipe)
    assert it.encode(recipe)["profile"] == "learned" and it.encode(recipe)["weight.g2.json"] == 1.0
    assert "learned" not in dict(space(methods=("ties",), profiles=PROFILES).anchors())
    assert "learned" not in dict(space(methods=METHODS, profiles=PROFILES, weight_range=(0.1, 0.8)).anchors())


def test_a_recipe_of_other_layers_is_refused():
    it = space(methods=METHODS, groups=4, profiles=PROFILES)
    *_, (_, recipe) = it.anchors()
    with pytest.raises(UserError, match="1 or 2 layer groups, got 30"):
        space(methods=METHODS).encode(recipe)
    other = recipe.__class__(**{**recipe.__dict__, "weights": recipe.weights[:29]})
    with pytest.raises(UserError, match="1 or 4 layer groups, or those of a profile, got 29"):
        it.encode(other)
