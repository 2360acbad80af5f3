"""The signature of a method's function is its schema."""

from __future__ import annotations

import math
from typing import Annotated

import pytest
from torch import Tensor

from evomerge.errors import UserError
from evomerge.merging import METHODS, MergeMethod, PerExpert, Range
from evomerge.merging.describe import method_rows, method_table
from evomerge.merging.parameters import Choice, Flag, per_expert
from evomerge.merging.registry import blockwise
from evomerge.registry import Registry


@pytest.fixture
def strength(monkeypatch) -> MergeMethod:
    """A method defined here, in a registry of its own."""
    monkeypatch.setattr("evomerge.merging.registry.METHODS", Registry("merge method", "evomerge.merging"))

    @blockwise(paper="none: a test", min_experts=2, max_experts=4)
    def strength(
        base: Tensor,
        deltas: Tensor,
        weights: Tensor,
        *,
        keep: Annotated[PerExpert, Range(0.1, 1.0, above=0.0, at_most=1.0)] = 0.5,
        power: Annotated[float, Range(1.0, 8.0, log=True)] = 2.0,
    ) -> Tensor:
        """Only for this test.

        More text.
        """
        return base * power + per_expert(keep, len(deltas))[0]

    return strength


def test_the_signature_is_the_schema(strength):
    assert strength.name == "strength" and strength.summary == "Only for this test."
    assert strength.expert_parameters == {"keep": (Range(0.1, 1.0, above=0.0, at_most=1.0), 0.5)}
    assert strength.parameters == {"power": (Range(1.0, 8.0, log=True), 2.0)}
    assert (strength.space, strength.min_experts, strength.max_experts) == ("full", 2, 4)
    assert [strength.takes(n) for n in range(1, 6)] == [False, True, True, True, False]
    assert strength.experts == "2 to 4"
    assert strength.inputs == "deltas" and METHODS["linear"].inputs == "models"


def test_registered_methods():
    assert set(METHODS) >= {
        "linear", "task_arithmetic", "ties", "dare_linear", "dare_ties", "slerp", "core_task_arithmetic", "core_tsv",
    }  # fmt: skip
    bounds, default = METHODS["ties"].expert_parameters["density"]
    assert (bounds.low, bounds.high, bounds.valid, default) == (0.05, 1.0, "(0, 1]", 1.0)


@pytest.mark.parametrize("value", [0.0, -0.1, 1.5, math.nan, math.inf])
def test_values_outside_the_valid_interval(value):
    bounds, _ = METHODS["ties"].expert_parameters["density"]
    with pytest.raises(UserError) as error:
        bounds.check("density", value, "recipe.yaml: experts[0].density")
    assert str(error.value) == f"density must be in (0, 1], got {value:g} (recipe.yaml: experts[0].density)"


def test_valid_outside_the_searched_range():
    assert METHODS["ties"].expert_parameters["density"][0].check("density", 0.01) == 0.01


def test_options_say_what_they_take():
    assert Choice(("count", "sum")).check("average", "sum") == "sum" and Flag().check("on", False) is False
    with pytest.raises(UserError, match=r"unknown average 'sums'.*'sum'.*r\.yaml"):
        Choice(("count", "sum")).check("average", "sums", "r.yaml")
    with pytest.raises(UserError, match="on must be true or false, got 1"):
        Flag().check("on", 1)
    with pytest.raises(UserError, match="scale must be in"):
        Range(0.1, 1.0).check("scale", True)


def test_table_rows():
    rows = {row.name: row for row in method_rows()}
    assert list(rows) == list(METHODS)
    assert (
        rows["ties"].parameters.startswith("density 0.05..1 per expert, average count/weight/sum = count, ")
        and rows["ties"].experts == "1 or more"
    )
    assert rows["slerp"].experts == "2" and rows["core_tsv"].parameters == "scale 0.3..2"
    lines = method_table().splitlines()
    assert len(lines) == len(METHODS) + 2
    assert {line.count("|") for line in lines} == {8}
