"""The search space maps parameters to recipes and back."""

from __future__ import annotations

import random

import pytest

from evomerge.errors import UserError
from evomerge.merging import METHODS
from evomerge.recipes.recipe_yaml import dump, parse
from evomerge.recipes.space import SearchSpace, default_methods
from evomerge.types import Expert, Recipe

EXPERTS = tuple(Expert(name, f"adapters/{name}") for name in ("sql", "code", "json"))


def space(count: int = 3, methods=None, groups: int = 2, **values) -> SearchSpace:
    return SearchSpace("base", EXPERTS[:count], methods or default_methods(adapters=True), groups, **values)


def draw(space: SearchSpace, rng: random.Random) -> dict:
    """A point drawn as a sampler would."""
    point = {}
    for p in space.parameters:
        if p.kind == "categorical":
            point[p.name] = rng.choice(p.choices)
        elif p.step is None:
            point[p.name] = rng.uniform(p.low, p.high)
        else:
            point[p.name] = p.low + p.step * rng.randint(0, round((p.high - p.low) / p.step))
    return point


SPACES = {
    "adapters": space(),
    "full checkpoints": space(methods=default_methods(adapters=False)),
    "two experts": space(2),
    "one expert": space(1, ("ties", "task_arithmetic")),
    "one method": space(methods=("dare_ties",), groups=1),
    "negative weights": space(methods=("task_arithmetic", "ties"), weight_range=(-0.5, 1.5)),
    "positive weights": space(methods=("linear", "ties"), weight_range=(0.1, 0.8)),
    "linear alone": space(methods=("linear",)),
    "every method": space(2, tuple(METHODS), groups=4),
}


@pytest.mark.parametrize("name", list(SPACES))
def test_parameters_recipes_and_yaml_stand_for_each_other(name):
    rng, it = random.Random(0), SPACES[name]
    for _ in range(60):
        recipe = it.decode(draw(it, rng))
        assert len(recipe.weights) == it.layer_groups and all(len(row) == len(it.experts) for row in recipe.weights)
        assert it.decode(it.encode(recipe)).fingerprint == recipe.fingerprint
        assert parse(dump(recipe)).fingerprint == recipe.fingerprint
        low, high = it.weight_range
        assert all(low - 1e-9 <= w <= high + 1e-9 for row in recipe.weights for w in row)


@pytest.mark.parametrize("name", list(SPACES))
def test_parameters_are_named_once_and_defaults_are_a_point(name):
    it = SPACES[name]
    names = [p.name for p in it.parameters]
    assert len(set(names)) == len(names)
    assert it.parameters == it.parameters
    recipe = it.decode({p.name: p.default for p in it.parameters})
    assert recipe.method == it.methods[0]
    for p in it.parameters:
        if p.kind == "float":
            assert p.low <= p.default <= p.high
            steps = 0.0 if p.step is None else (p.high - p.low) / p.step
            assert abs(steps - round(steps)) < 1e-6, "Optuna wants the range to be a multiple of the step"


def test_names_and_ranges():
    parameters = {p.name: p for p in space().parameters}
    assert list(parameters) == [
        "method", "weight.g0.sql", "weight.g0.code", "weight.g0.json", "weight.g1.sql", "weight.g1.code",
        "weight.g1.json", "density.sql", "density.code", "density.json", "scale",
    ]  # fmt: skip
    weight, density = parameters["weight.g1.code"], parameters["density.sql"]
    assert (weight.low, weight.high, weight.step) == (0.0, 1.0, 1e-3)
    assert (density.low, density.high, density.default) == (0.05, 1.0, 1.0)


def test_methods_that_need_two_experts_are_left_out():
    assert "slerp" not in space(3).methods and "slerp" in space(2).methods
    with pytest.raises(UserError, match="no method can merge 3 experts, got slerp"):
        space(3, ("slerp",))


@pytest.mark.parametrize("name", list(SPACES))
def test_anchors_are_points_of_the_space(name):
    it = SPACES[name]
    anchors = it.anchors()
    labels = [label for label, _ in anchors]
    assert len(set(labels)) == len(labels)
    for _, recipe in anchors:
        assert it.decode(it.encode(recipe)).fingerprint == recipe.fingerprint


def test_anchors_of_the_default_space():
    anchors = dict(space().anchors())
    assert list(anchors) == [
        "base", "expert:sql", "expert:code", "expert:json", "uniform", "task arithmetic 0.5",
        "task arithmetic 0.7", "task arithmetic 1", "ties 0.1", "ties 0.5", "dare 0.5", "tsv",
    ]  # fmt: skip
    assert anchors["base"].weights == ((0.0,) * 3,) * 2 and anchors["expert:code"].weights[0] == (0.0, 1.0, 0.0)
    assert anchors["uniform"].method == "core_task_arithmetic" and anchors["uniform"].weights[0] == (0.333,) * 3
    assert anchors["task arithmetic 0.7"].method == "core_task_arithmetic"
    assert anchors["task arithmetic 0.7"].weights == ((0.7,) * 3,) * 2
    assert anchors["ties 0.1"].expert_parameters == {"density": (0.1,) * 3}
    assert anchors["ties 0.1"].weights[0] == (1.0,) * 3
    assert anchors["dare 0.5"].method == "dare_linear" and anchors["dare 0.5"].weights[1] == (0.333,) * 3
    assert len({recipe.fingerprint for recipe in anchors.values()}) == len(anchors)


def test_anchors_outside_the_weight_range_are_left_out():
    labels = [label for label, _ in space(weight_range=(0.1, 0.8)).anchors()]
    assert labels == ["uniform", "task arithmetic 0.5", "task arithmetic 0.7", "dare 0.5"]


@pytest.mark.parametrize(
    ("count", "weights"), [(1, []), (2, ["0.3", "0.7", "1"]), (3, ["0.5", "0.7", "1"]), (4, ["0.5", "0.7", "1"])]
)
def test_no_task_arithmetic_anchor_is_nearly_the_uniform_average(count, weights):
    labels = [label for label, _ in space(count).anchors() if label.startswith("task arithmetic")]
    assert labels == [f"task arithmetic {weight}" for weight in weights]


def test_equal_models_have_equal_fingerprints():
    it = space()
    point = {p.name: p.default for p in it.parameters} | {"method": "core_task_arithmetic"}
    same = it.decode(point | {"scale": 1.7, "density.sql": 0.3})
    assert same.fingerprint == it.decode(point).fingerprint, "core_task_arithmetic has neither scale nor density"
    ties = point | {"method": "ties", "weight.g0.sql": 0.0, "weight.g1.sql": 0.0}
    assert it.decode(ties).fingerprint == it.decode(ties | {"density.sql": 0.2}).fingerprint
    assert it.decode(ties).fingerprint != it.decode(ties | {"density.code": 0.2}).fingerprint
    linear = point | {"method": "linear"}
    thirds = {f"weight.g{g}.{e.name}": 0.2 for g in range(2) for e in EXPERTS}
    assert it.decode(linear).fingerprint == it.decode(linear | thirds).fingerprint
    assert it.decode(linear).weights == ((1.0, 1.0, 1.0),) * 2
    assert it.decode(linear | {"weight.g0.sql": 0.2, "weight.g0.code": 0.3}).weights[0] == (0.4, 0.6, 1.0)


def test_points_are_snapped_to_the_grid():
    it = space()
    point = {p.name: p.default for p in it.parameters}
    nearly = {k: v + 1e-10 if isinstance(v, float) and v < 1 else v for k, v in point.items()}
    assert it.decode(nearly) == it.decode(point)


def test_points_that_are_none():
    it = space()
    point = {p.name: p.default for p in it.parameters}
    with pytest.raises(UserError, match=r"weight.g0.sql must be in \[0, 1\], got 1.2"):
        it.decode(point | {"weight.g0.sql": 1.2})
    with pytest.raises(UserError, match=r"method must be one of core_task_arithmetic.* got 'tie'"):
        it.decode(point | {"method": "tie"})
    with pytest.raises(UserError, match=r"unknown search parameter 'weight.g0.sq': did you mean 'weight.g0.sql'"):
        it.decode(point | {"weight.g0.sq": 0.5})
    del point["scale"]
    with pytest.raises(UserError, match="search parameter 'scale' is missing"):
        it.decode(point)


def test_recipes_outside_the_space():
    it = space(methods=("ties", "linear"))
    good = Recipe("base", EXPERTS, "ties", ((0.5, 0.5, 0.5),), {"density": (0.5, 0.5, 0.5)})
    assert it.decode(it.encode(good)).weights == ((0.5, 0.5, 0.5),) * 2, "one row stands for all layer groups"
    for bad, message in (
        (Recipe("base", EXPERTS, "dare_ties", ((0.5,) * 3,)), "method 'dare_ties' is not searched"),
        (Recipe("base", EXPERTS[:2], "ties", ((0.5,) * 2,)), "experts must be those of the search space"),
        (Recipe("base", EXPERTS, "ties", ((0.5,) * 3,) * 5), "must have 1 or 2 layer groups, got 5"),
        (Recipe("base", EXPERTS, "ties", ((1.5, 0.5, 0.5),)), "weight.g0.sql must be in"),
    ):
        with pytest.raises(UserError, match=message):
            it.encode(bad)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight_range": (1.0, 0.0)}, "weight_range must be"),
        ({"weight_range": (0.0, 0.12345)}, "multiples of 0.001"),
        ({"weight_range": (-0.5, 1.0)}, "weight_range must start at 0 or above"),
        ({"groups": 0}, "layer_groups must be at least 1, got 0"),
        ({"methods": ("tiess",)}, "unknown merge method 'tiess': did you mean 'ties'"),
        ({"count": 0}, "at least one expert"),
    ],
)
def test_settings_that_cannot_be(values, message):
    with pytest.raises(UserError, match=message):
        space(**values)


def test_experts_of_one_name():
    with pytest.raises(UserError, match="different names, got sql, sql"):
        SearchSpace("base", (EXPERTS[0], EXPERTS[0]), ("ties",))


def test_experts_of_one_model_and_the_base_as_an_expert():
    with pytest.raises(UserError, match=r"experts 'sql' and 'b' are one model, adapters/sql.*\(space: experts\[1\]\)"):
        SearchSpace("base", (EXPERTS[0], Expert("b", "adapters/sql")), ("ties",))
    with pytest.raises(UserError, match="expert 'b' is the base itself"):
        SearchSpace("base", (EXPERTS[0], Expert("b", "base")), ("linear", "ties"))
    assert SearchSpace("base", (EXPERTS[0], Expert("b", "base")), ("linear", "slerp"))


def test_optuna_takes_every_parameter_and_anchor():
    """The anchors are enqueued in Optuna: suggested values must be exactly the enqueued ones."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    it, study = space(), optuna.create_study()
    for _, recipe in it.anchors():
        study.enqueue_trial(it.encode(recipe))
    for _, recipe in it.anchors():
        trial, point = study.ask(), {}
        for p in it.parameters:
            if p.kind == "categorical":
                point[p.name] = trial.suggest_categorical(p.name, p.choices)
            else:
                point[p.name] = trial.suggest_float(p.name, p.low, p.high, step=p.step, log=p.log)
        assert it.decode(point).fingerprint == recipe.fingerprint
        study.tell(trial, 0.0)
