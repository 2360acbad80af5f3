"""LiNeS and SVC give the same merge in factors and in dense matrices."""

from __future__ import annotations

import pytest
import torch

from evomerge.errors import UserError
from evomerge.merging.modifiers import MODIFIERS
from evomerge.recipes.recipe_yaml import dump, parse
from evomerge.tensors.lazy import dense
from evomerge.weights.parameter_names import layer_index

METHODS = ("linear", "task_arithmetic", "ties", "core_tsv")
LINES = {"alpha": 0.5, "beta": 0.7}


def deltas(merger, recipe) -> dict[str, torch.Tensor]:
    return {name: tensor - merger.base[name].float() for name, tensor in merger.tensors(recipe, dtype=torch.float32)}


@pytest.mark.parametrize("method", METHODS)
def test_lines_scales_the_merged_delta_of_each_layer(merger, recipe_of, method):
    plain, modified = (deltas(merger, recipe_of(method, modifiers=m)) for m in ({}, {"lines": LINES}))
    for name, delta in plain.items():
        layer = layer_index(name)
        scale = 0.5 if layer is None else 0.5 + 0.7 * layer / (merger.layers - 1)
        torch.testing.assert_close(modified[name], scale * delta, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_svc_in_the_shared_basis_and_dense_is_svc_of_the_whole_matrix(merger, recipe_of, method):
    plain, modified = (deltas(merger, recipe_of(method, modifiers=m)) for m in ({}, {"svc": {"alpha": 0.4}}))
    changed = 0
    for name, delta in plain.items():
        own = [dense(v.delta(name)) if name in v.names else torch.zeros_like(delta) for v in merger.experts.values()]
        expected = MODIFIERS["svc"].function(
            delta.double(), torch.stack(own).double(), torch.ones(3, dtype=torch.bool), alpha=0.4
        )
        torch.testing.assert_close(modified[name].double(), expected, rtol=1e-3, atol=2e-5)
        changed += not torch.allclose(modified[name], delta, atol=1e-4)
    assert changed


def test_svc_worked_example():
    """Two experts agree on one direction and differ in another: the sum's doubled value is halved, the rest stays."""
    first, second = torch.diag(torch.tensor([2.0, 1.0, 0.0])), torch.diag(torch.tensor([2.0, 0.0, 0.5]))
    calibrated = MODIFIERS["svc"].function(first + second, torch.stack([first, second]), torch.ones(2) > 0, alpha=1.0)
    torch.testing.assert_close(calibrated, torch.diag(torch.tensor([2.0, 1.0, 0.5])))
    half = MODIFIERS["svc"].function(0.5 * first, first[None], torch.ones(1) > 0, alpha=0.8)
    torch.testing.assert_close(half, first * 0.5 / 0.8)  # the floor bounds what is made larger
    zero = MODIFIERS["svc"].function(torch.zeros(3, 3), torch.stack([first, second]), torch.ones(2) > 0)
    assert torch.count_nonzero(zero) == 0


def test_modifiers_survive_yaml_and_are_checked(recipe_of):
    recipe = recipe_of("ties", modifiers={"lines": LINES, "svc": {"alpha": 0.4}})
    again = parse(dump(recipe))
    assert again.modifiers == recipe.modifiers and again.fingerprint != recipe_of("ties").fingerprint
    for text, message in (
        ("{svc: {alpha: 0}}", "alpha must be in"),
        ("{sv: {}}", "svc"),
        ("{lines: {gamma: 1}}", "gamma"),
    ):
        with pytest.raises(UserError, match=message):
            parse(dump(recipe_of("ties")) + f"modifiers: {text}\n")


def test_core_dare_draws_the_same_masks_again_and_others_for_another_seed(merger, recipe_of):
    density = {"density": (0.3, 0.6, 1.0)}
    first, again, other = (
        deltas(merger, recipe_of("core_dare", expert_parameters=density, seed=seed)) for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_linear_sum_counts_the_base_as_often_as_the_weights_say(merger, recipe_of):
    recipe = recipe_of("linear", weights=((0.6, 0.3, 0.5),), parameters={"average": "sum"})
    assert not merger.is_low_rank(recipe)
    name, tensor = next(merger.tensors(recipe, dtype=torch.float32))
    expected = 1.4 * merger.base[name].float()
    for weight, vector in zip((0.6, 0.3, 0.5), merger.experts.values(), strict=True):
        expected += weight * dense(vector.delta(name)) if name in vector.names else 0.0
    torch.testing.assert_close(tensor, expected, rtol=1e-4, atol=1e-5)
