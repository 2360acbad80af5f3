from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from pico_recipes import NAMES, RECIPES, WEIGHTS

from evomerge.engine.dense import merge_tensor
from evomerge.engine.export import export_model
from evomerge.engine.layer_groups import layer_group
from evomerge.engine.merger import Merger
from evomerge.errors import UserError
from evomerge.merging import METHODS, Parameter, Randomness, merge_method
from evomerge.tensors import lazy
from evomerge.tensors.lazy import dense
from evomerge.types import Expert, Recipe
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import open_task_vector


def dense_reference(merger: Merger, recipe: Recipe, name: str) -> torch.Tensor:
    """The method applied to plain dense deltas of every expert."""
    base = merger.base[name].float()
    deltas = torch.stack(
        [
            dense(merger.experts[e.name].delta(name))
            if name in merger.experts[e.name].names
            else torch.zeros_like(base)
            for e in recipe.experts
        ]
    )
    group = layer_group(name, len(recipe.weights), 2)
    randomness = Randomness(recipe.seed, tuple(e.name for e in recipe.experts), name)
    settings = {**recipe.expert_parameters, **recipe.parameters}
    method = METHODS[recipe.method]
    experts = deltas if method.inputs == "deltas" else base + deltas
    return method(base, experts, torch.tensor(recipe.weights[group]), randomness=randomness, **settings)


@pytest.mark.parametrize("method", [m for m in RECIPES if not m.startswith("core_")])
def test_equals_the_method_on_dense_deltas(merger, recipe_of, method):
    recipe = recipe_of(method, dtype="float32")
    merged = dict(merger.tensors(recipe))
    assert set(merged) == set(merger.changed(recipe))
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, dense_reference(merger, recipe, name), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", RECIPES)
def test_rounds_once_and_repeats_exactly(merger, make_merger, recipe_of, method):
    rounded = dict(merger.tensors(recipe_of(method)))
    wide = dict(make_merger().tensors(recipe_of(method, dtype="float32")))
    again = dict(merger.tensors(recipe_of(method)))
    for name, tensor in rounded.items():
        assert tensor.dtype == torch.bfloat16
        assert torch.equal(tensor, wide[name].bfloat16())
        assert torch.equal(tensor, again[name])


@pytest.mark.parametrize("method", RECIPES)
def test_zero_weights_give_the_base(merger, recipe_of, method):
    for name, tensor in merger.tensors(recipe_of(method, weights=((0.0, 0.0, 0.0),))):
        assert torch.equal(tensor, merger.base[name])


@pytest.mark.parametrize("method", ["task_arithmetic", "core_task_arithmetic", "core_tsv", "ties"])
def test_one_expert_alone_at_weight_one_is_that_expert(merger, recipe_of, method):
    settings = {"expert_parameters": {"density": (1.0, 1.0, 1.0)}} if method == "ties" else {"parameters": {}}
    recipe = recipe_of(method, weights=((0.0, 1.0, 0.0),), dtype="float32", **settings)
    vector = merger.experts["json"]
    for name, tensor in merger.tensors(recipe):
        delta = dense(vector.delta(name)) if name in vector.names else 0.0
        torch.testing.assert_close(tensor, merger.base[name] + delta, rtol=1e-5, atol=2e-6)


def test_every_also_gives_the_unchanged_parameters(merger, recipe_of):
    recipe = recipe_of("ties")
    changed, every = dict(merger.tensors(recipe)), dict(merger.tensors(recipe, every=True))
    assert tuple(every) == merger.base.names
    assert len(changed) == 14
    for name, tensor in every.items():
        assert torch.equal(tensor, changed[name] if name in changed else merger.base[name])


def test_a_recipe_may_use_some_of_the_experts_in_any_order(merger, recipe_of, adapters):
    full = recipe_of("core_tsv", weights=((0.4, 0.0, 0.7),), dtype="float32")
    experts = tuple(Expert(name, str(adapters[name])) for name in ("code", "sql"))
    part = Recipe("pico", experts, "core_tsv", ((0.7, 0.4),), parameters=full.parameters, dtype="float32")
    wanted = dict(merger.tensors(full))
    # the bases differ: that of the second recipe knows no third expert
    for name, tensor in merger.tensors(part):
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties", "dare_ties"])
def test_full_checkpoints_and_adapters_mix(merger, recipe_of, tmp_path, method):
    """An adapter merged into a checkpoint is the same expert, up to the checkpoint's rounding (here: none)."""
    one = recipe_of("task_arithmetic", weights=((1.0, 0.0, 0.0),), dtype="float32")
    export_model(merger, one, tmp_path / "sql")
    dense = open_task_vector(merger.base, str(tmp_path / "sql"))
    mixed = Merger(merger.base, merger.experts | {"sql": dense})
    recipe = recipe_of(method, dtype="float32", expert_parameters={}, weights=WEIGHTS)
    wanted = dict(merger.tensors(recipe))
    for name, tensor in mixed.tensors(recipe):
        torch.testing.assert_close(tensor, wanted[name], rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="core_tsv works on LoRA adapters, expert 'sql' is a full checkpoint"):
        list(mixed.tensors(recipe_of("core_tsv")))


def test_experts_are_checked(merger, recipe_of):
    recipe = recipe_of("slerp")
    with pytest.raises(UserError, match="slerp merges 2 experts, the recipe has 3"):
        list(merger.tensors(recipe))
    stranger = Recipe("pico", (Expert("math", "x"),), "task_arithmetic", ((1.0,),))
    with pytest.raises(UserError, match=r"expert 'math' of the recipe is not loaded .loaded: code, json, sql"):
        list(merger.tensors(stranger))


def test_slerp_of_two(make_merger, adapters):
    merger = make_merger()
    recipe = Recipe(
        "pico", tuple(Expert(n, str(adapters[n])) for n in NAMES[:2]), "slerp", ((1.0, 3.0),), dtype="float32"
    )
    for name, tensor in merger.tensors(recipe):
        torch.testing.assert_close(tensor, dense_reference(merger, recipe, name))


def test_tied_and_untied_heads(pico_model, make_merger, recipe_of):
    untied = make_merger(pico_model(tied=False))
    assert "lm_head.weight" in dict(untied.tensors(recipe_of("task_arithmetic"), every=True))
    assert "lm_head.weight" not in Checkpoint(pico_model()).names


def test_a_method_that_needs_the_whole_parameter_gets_it_in_one_block(merger, recipe_of, monkeypatch):
    """And its result is streamed in blocks as any other."""
    monkeypatch.setattr(METHODS, "_items", dict(METHODS._items))
    monkeypatch.setitem(lazy.BLOCK, "cpu", 256)
    seen = []

    @merge_method(paper="none: a test", whole=True)
    def normalized_sum(parameter: Parameter, weights: torch.Tensor) -> Iterator[torch.Tensor]:
        """Divides by the norm of everything."""
        (block,) = parameter.blocks()
        seen.append(tuple(block.experts.shape))
        yield block.add_base(torch.tensordot(weights, block.experts, dims=1) / (1 + block.experts.norm()))

    recipe = recipe_of("normalized_sum", dtype="float32")
    planned = merger.plan(recipe)
    for tensor in planned:
        blocks = list(tensor.blocks(torch.device("cpu")))
        assert len(blocks) == 1 if len(tensor.shape) < 2 else len(blocks) > 1
        expected = dense_reference(merger, recipe, tensor.name)
        torch.testing.assert_close(merge_tensor.whole(tensor), expected, rtol=1e-5, atol=1e-6)
    assert {(3, *tensor.shape) for tensor in planned} == set(seen)
