"""The conformance kit fails merge methods with planted faults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import method_kit as kit
import pytest
import torch
from torch import Tensor

from evomerge.errors import UserError
from evomerge.merging import METHODS, MergeMethod, Parameter, PerExpert, Range, blockwise, core_method, merge_method

Eta = Annotated[float, Range(0.0, 1.0)]


@pytest.fixture(autouse=True)
def registry_of_this_test(monkeypatch):
    """Planted methods are registered, since the search space asks the registry, and gone afterwards."""
    assert len(METHODS) > 20
    monkeypatch.setattr(METHODS, "_items", dict(METHODS._items))


def check_laws(method: MergeMethod) -> None:
    for shape, values in kit.shapes_and_values(method):
        kit.check_output(method, shape, values)
        kit.check_order(method, shape, values)
        kit.check_zero_weights(method, shape, values)
    for values in kit.cases(method):
        kit.check_blocks(method, 5, values)


def test_a_sound_method_passes():
    @merge_method(paper="none: a test")
    def sound(parameter: Parameter, weights: Tensor, *, eta: Eta = 0.5) -> Iterator[Tensor]:
        """A weighted sum."""
        for block in parameter.blocks():
            yield block.add_base(eta * torch.tensordot(weights, block.experts, dims=1))

    check_laws(sound)
    kit.check_every_parameter_changes_something(sound)
    kit.check_proposals(sound)


def test_a_method_that_raises_at_some_value():
    @blockwise(paper="none: a test")
    def fragile(base: Tensor, deltas: Tensor, weights: Tensor, *, eta: Eta = 0.5) -> Tensor:
        """Only its default works."""
        if eta != 0.5:
            raise ValueError("eta")
        return base + torch.tensordot(weights, deltas, dims=1)

    kit.check_output(fragile, kit.SMALL, kit.settings(fragile))
    with pytest.raises(ValueError, match="eta"):
        check_laws(fragile)
    with pytest.raises(ValueError, match="eta"):
        kit.check_every_parameter_changes_something(fragile)


def test_parts_that_do_not_add_up_to_the_merge():
    @core_method(paper="none: a test", parts=lambda cores: cores)
    def core_rooted(cores: Tensor, weights: Tensor) -> Tensor:
        """A sum that is not linear in the weights."""
        return torch.einsum("...t,...trs->...rs", weights.sqrt(), cores)

    with pytest.raises(AssertionError):
        kit.check_parts(core_rooted)


def test_a_core_method_that_raises_at_some_value():
    @core_method(paper="none: a test")
    def core_fragile(cores: Tensor, weights: Tensor, *, eta: Annotated[PerExpert, Range(0.0, 1.0)] = 0.5) -> Tensor:
        """Only its default works."""
        if set(eta) != {0.5}:
            raise ValueError("eta")
        return torch.einsum("...t,...trs->...rs", weights, cores)

    kit.check_cores(core_fragile, kit.settings(core_fragile))
    with pytest.raises(ValueError, match="eta"):
        for values in kit.cases(core_fragile):
            kit.check_cores(core_fragile, values)


def test_a_parameter_that_changes_nothing():
    @blockwise(paper="none: a test")
    def idle(base: Tensor, deltas: Tensor, weights: Tensor, *, eta: Eta = 0.5, used: Eta = 0.5) -> Tensor:
        """One of its parameters is dead."""
        return base + used * torch.tensordot(weights, deltas, dims=1)

    check_laws(idle)
    with pytest.raises(AssertionError, match="no value of eta changes the merge"):
        kit.check_every_parameter_changes_something(idle)


def test_a_parameter_that_changes_nothing_by_definition_is_named():
    @blockwise(paper="none: a test", exceptions={"eta": "it guards against a case that tests do not have"})
    def guarded(base: Tensor, deltas: Tensor, weights: Tensor, *, eta: Eta = 0.5) -> Tensor:
        """Its parameter is dead by definition."""
        return base + torch.tensordot(weights, deltas, dims=1)

    kit.check_every_parameter_changes_something(guarded)
    with pytest.raises(AssertionError, match="zeta"):

        @blockwise(paper="none: a test", exceptions={"zeta": "no parameter of this name"})
        def misnamed(base: Tensor, deltas: Tensor, weights: Tensor) -> Tensor:
            """Names what it does not have."""
            return base.clone()


def test_a_law_that_breaks_at_some_value():
    @blockwise(paper="none: a test")
    def first_counts_more(base: Tensor, deltas: Tensor, weights: Tensor, *, eta: Eta = 0.0) -> Tensor:
        """Away from its default, the order of experts matters."""
        return base + torch.tensordot(weights, deltas, dims=1) + eta * weights[0] * deltas[0]

    kit.check_order(first_counts_more, kit.SMALL, kit.settings(first_counts_more))
    with pytest.raises(AssertionError):
        check_laws(first_counts_more)


def test_a_method_that_takes_blocks_for_the_whole():
    @blockwise(paper="none: a test")
    def short_sighted(base: Tensor, deltas: Tensor, weights: Tensor) -> Tensor:
        """Divides by the norm of a block."""
        return base + torch.tensordot(weights, deltas / (1 + deltas.norm()), dims=1)

    with pytest.raises(AssertionError):
        kit.check_blocks(short_sighted, 5, {})


def test_a_method_that_asks_for_the_whole_gets_one_block():
    seen = []

    @merge_method(paper="none: a test", whole=True)
    def far_sighted(parameter: Parameter, weights: Tensor) -> Iterator[Tensor]:
        """Divides by the norm of everything."""
        (block,) = parameter.blocks()
        seen.append(tuple(block.experts.shape))
        yield block.add_base(torch.tensordot(weights, block.experts / (1 + block.experts.norm()), dims=1))

    check_laws(far_sighted)
    assert set(seen) == {(3, *shape) for shape in (*kit.SHAPES, kit.SMALL, (24, 40))}


def test_whole_numbers_are_proposed_and_accepted():
    @blockwise(paper="none: a test")
    def stepwise(
        base: Tensor,
        deltas: Tensor,
        weights: Tensor,
        *,
        steps: Annotated[float, Range(1, 60, whole=True)] = 10,
        halvings: Annotated[PerExpert, Range(1, 8, log=True, whole=True)] = 2,
    ) -> Tensor:
        """Counts."""
        factors = torch.tensor([weight / 2**h for weight, h in zip(weights.tolist(), halvings, strict=True)])
        return base + torch.tensordot(factors.to(deltas), deltas, dims=1) * steps

    kit.check_proposals(stepwise)
    check_laws(stepwise)
    kit.check_every_parameter_changes_something(stepwise)
    with pytest.raises(UserError, match=r"steps must be a whole number, got 2\.5"):
        stepwise.parameters["steps"][0].check("steps", 2.5)
