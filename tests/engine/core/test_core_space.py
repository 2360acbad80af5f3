from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from pico_recipes import FACTORED

from evomerge.engine.merger import Merger
from evomerge.tensors.lazy import LowRank, dense


def test_bases_are_orthonormal_singular_bases_and_cores_exact(merger, recipe_of):
    space = merger.core_space(recipe_of("core_tsv"))
    assert space.names == merger.experts["sql"].names
    for stack in space._stacks:
        for name, cores in zip(stack.names, stack.cores, strict=True):
            basis = space.bases[name]
            for side in (basis.u, basis.v):
                gram = side.T @ side
                assert torch.allclose(gram, torch.diag(gram.diagonal().round()), atol=1e-5)
            for expert, core in zip(space.experts, cores, strict=True):
                vector = merger.experts[expert]
                delta = (
                    dense(vector.delta(name))
                    if name in vector.names
                    else torch.zeros(basis.u.shape[0], basis.v.shape[0])
                )
                torch.testing.assert_close(basis.u @ core @ basis.v.T, delta, rtol=1e-5, atol=1e-5)
            stacked = torch.cat([v.factors(name).right for v in merger.experts.values() if v.factors(name)])
            spread = (stacked @ basis.v).square().sum(0)  # squared singular values: descending
            assert torch.all(spread[:-1] >= spread[1:] - 1e-4)


def test_more_rank_than_rows_is_padded(pico_adapter, make_merger, recipe_of, adapters):
    adapters |= {"sql": pico_adapter(seed=1, r=14), "json": pico_adapter(seed=2, r=14)}  # k_proj has 16 rows
    merger = make_merger()
    name = "model.layers.0.self_attn.k_proj.weight"
    assert merger.core_space(recipe_of("core_tsv")).bases[name].u.shape == (16, 28)
    for method in ("core_task_arithmetic", "core_tsv"):
        recipe = recipe_of(method, weights=((1.0, 0.0, 0.0),), dtype="float32", parameters={})
        merged = dict(merger.tensors(recipe))[name]
        torch.testing.assert_close(
            merged, merger.base[name] + dense(merger.experts["sql"].delta(name)), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("method", ["task_arithmetic", "linear"])
def test_linear_methods_are_exact_in_core_space(merger, recipe_of, method):
    recipe = recipe_of(method, dtype="float32")
    cores = merger.core_space(recipe).merge(recipe)
    for name, tensor in merger.tensors(recipe):
        basis = merger.core_space(recipe).bases[name]
        torch.testing.assert_close(merger.base[name] + basis.u @ cores[name] @ basis.v.T, tensor, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", FACTORED)
def test_to_lora_keeps_the_whole_update(merger, recipe_of, method):
    recipe = recipe_of(method, dtype="float32")
    factors, error = merger.core_space(recipe).to_lora(recipe)
    assert error == 0.0
    for name, tensor in merger.tensors(recipe):
        torch.testing.assert_close(merger.base[name] + factors[name].dense(), tensor, rtol=1e-5, atol=1e-5)


def test_a_smaller_rank_gives_the_best_truncation_and_its_error(merger, recipe_of):
    recipe = recipe_of("core_tsv")
    whole, _ = merger.core_space(recipe).to_lora(recipe)
    small, error = merger.core_space(recipe).to_lora(recipe, rank=3)
    lost = total = best = 0.0
    for name, factor in whole.items():
        delta = factor.dense()
        assert small[name].rank == 3
        values = torch.linalg.svdvals(delta)
        lost += float((delta - small[name].dense()).square().sum())
        best += float(values[3:].square().sum())
        total += float(delta.square().sum())
    assert error == pytest.approx((lost / total) ** 0.5, rel=1e-4)
    assert lost == pytest.approx(best, rel=1e-4)


def test_low_rank_value():
    factor = LowRank(torch.ones(4, 2), torch.ones(2, 3))
    assert factor.rank == 2
    assert torch.equal(factor.dense(), torch.full((4, 3), 2.0))


@pytest.mark.parametrize("method", ["core_ties", "core_tsv"])
def test_experts_that_a_recipe_does_not_name_change_nothing(merger, make_merger, recipe_of, method):
    two = recipe_of(method)
    two = replace(
        two,
        experts=two.experts[:2],
        weights=((0.7, 0.4),),
        expert_parameters={name: values[:2] for name, values in two.expert_parameters.items()},
    )
    alone = Merger(merger.base, {e.name: merger.experts[e.name] for e in two.experts})
    wanted = dict(alone.tensors(two))
    got = dict(merger.tensors(two))
    assert got.keys() == wanted.keys()
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
