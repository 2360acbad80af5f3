"""Combination recipes in YAML: meaning and refusals."""

from __future__ import annotations

import pytest

from evomerge.errors import UserError
from evomerge.recipes.combine_yaml import TYPES, AdapterEntry, Combination, CombineRecipe, is_combination, load, parse

RECIPE = """
combine: ties_svd
adapters:
  - {model: experts/sql, weight: 1}
  - {model: org/code, weight: -5e-1, name: python}
  - name: style
    weight: 0.3
    model:
      combine: svd
      rank: 8
      adapters: [{model: a, weight: 0.5}, {model: experts/sql, weight: 0.5}]
density: 0.5
majority_sign: frequency
rank: 16
base: org/base
seed: 3
dtype: bfloat16
"""


def test_reads_every_key(tmp_path):
    (tmp_path / "experts" / "sql").mkdir(parents=True)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    sql = str(tmp_path / "experts" / "sql")
    inner = Combination("svd", (AdapterEntry("style/a", "a", 0.5), AdapterEntry("style/sql", sql, 0.5)), rank=8)
    expected = CombineRecipe(
        Combination(
            "ties_svd",
            (
                AdapterEntry("sql", sql, 1.0),
                AdapterEntry("python", "org/code", -0.5),
                AdapterEntry("style", inner, 0.3),
            ),
            0.5,
            "frequency",
            16,
        ),
        "org/base",
        3,
        "bfloat16",
    )
    assert load(tmp_path / "recipe.yaml") == expected
    assert expected.combination.models == (sql, "org/code", "a")
    assert is_combination(tmp_path / "recipe.yaml")


def test_defaults():
    recipe = parse("combine: cat\nadapters: [{model: a/b, weight: 1}]")
    assert recipe == CombineRecipe(Combination("cat", (AdapterEntry("b", "a/b", 1.0),)))


def test_other_files_are_no_combinations(tmp_path):
    for text in ("method: ties", "[1, 2]", "a: [", ""):
        (tmp_path / "file.yaml").write_text(text)
        assert not is_combination(tmp_path / "file.yaml")
    assert not is_combination(tmp_path / "nowhere.yaml")


def test_the_types_say_what_they_use():
    def used(attribute):
        return {kind for kind in TYPES if getattr(Combination(kind, ()), attribute)}

    assert used("elects") == {"ties", "ties_svd", "dare_ties", "dare_ties_svd"}
    assert used("prunes") == set(TYPES) - {"cat", "linear", "svd"}
    assert used("truncates") == {kind for kind in TYPES if kind.endswith("svd")}
    assert used("needs_equal_ranks") == {"linear", "ties", "dare_linear", "dare_ties", "magnitude_prune"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("combine: ties_svd", "combine: tie_svd"),
            "unknown combination type 'tie_svd': did you mean 'ties_svd'.*: combine",
        ),
        (("density: 0.5", ""), "ties_svd needs the key 'density'"),
        (("density: 0.5", "density: 1.5"), r"density must be in \(0, 1\], got 1.5 .*: density"),
        (("density: 0.5", "density: half"), "density must be a number, got 'half' .*: density"),
        (("density: 0.5", "densty: 0.5"), "unknown key 'densty': did you mean 'density'"),
        (("frequency", "sum"), "majority_sign must be total or frequency, got 'sum' .*: majority_sign"),
        (("rank: 16", "rank: 0"), "rank must be at least 1, got 0"),
        (("rank: 16", "rank: 1.5"), "whole number, got 1.5"),
        (("dtype: bfloat16", "dtype: bf16"), "unknown dtype 'bf16'"),
        (("weight: 1}", "weigth: 1}"), "unknown key 'weigth': did you mean 'weight'.*: adapters"),
        (("{model: experts/sql, weight: 1}", "{model: experts/sql}"), "an adapter needs the key 'weight'"),
        (("name: python", "name: sql"), "different names, 'sql' is there twice"),
        (("  - name: style\n    weight", "  - weight"), "in the place of a model needs the key 'name'"),
        (("      rank: 8", "      seed: 8"), r"unknown key 'seed'.*adapters\[2\].model"),
        (
            ("      rank: 8", "      density: 0.8"),
            r"svd does not use density: leave it out .*adapters\[2\].model.density",
        ),
        (("seed: 3", "seed: 3\n---\ncombine: cat"), "one YAML document, got 2"),
        (("adapters:", "adapters: ["), "not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(change, message):
    assert change[0] in RECIPE
    with pytest.raises(UserError, match=message) as caught:
        parse(RECIPE.replace(*change, 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "text", ""])
def test_what_is_no_mapping_is_refused(text):
    with pytest.raises(UserError):
        parse(text)
