"""PEFT's combination types: deterministic ones equal peft, random ones have the right statistics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from evomerge.engine.core.combine_adapters import Factors, combine, combine_factors, stored_factors, truncated_svd
from evomerge.errors import UserError
from evomerge.recipes.combine_yaml import AdapterEntry, Combination
from evomerge.weights.adapters.adapter import Adapter

WEIGHTS = (0.7, -0.4, 1.3)
# alphas that give three different scales, two adapters with classic and one with stabilised scaling
SETTINGS = ({"lora_alpha": 8}, {"lora_alpha": 3}, {"lora_alpha": 5, "use_rslora": True})


def entries(models, weights=WEIGHTS) -> tuple[AdapterEntry, ...]:
    return tuple(AdapterEntry(f"a{i}", str(m), w) for i, (m, w) in enumerate(zip(models, weights, strict=False)))


def opened(folders) -> dict[str, Adapter]:
    return {str(folder): Adapter(folder) for folder in folders}


@pytest.fixture(scope="module")
def trio(pico_adapter) -> list[Path]:
    return [pico_adapter(seed=i + 1, **settings) for i, settings in enumerate(SETTINGS)]


def peft_deltas(base: Path, folders, weights, kind: str, **options) -> dict[str, torch.Tensor]:
    """Updates of peft's combination by module path; float64, so that its own rounding is out of the comparison."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folders[0], "a0")
    for i, folder in enumerate(folders[1:], 1):
        model.load_adapter(folder, f"a{i}")
    model = model.double()
    names = [f"a{i}" for i in range(len(folders))]
    model.add_weighted_adapter(names, list(weights), "out", combination_type=kind, **options)
    return {
        path.removeprefix("base_model.model."): module.get_delta_weight("out").detach()
        for path, module in model.named_modules()
        if hasattr(module, "get_delta_weight")
        and ("out" in module.lora_A or "out" in module.lora_embedding_A)
    }  # fmt: skip


def check(ours, theirs: dict[str, torch.Tensor]) -> None:
    assert set(ours.factors) == set(theirs)
    for module, factor in ours.factors.items():
        dense = factor.dense().double()
        expected = theirs[module]
        dense = dense.T if module in ours.embeddings else dense
        assert (dense - expected).abs().max() < 1e-6 * max(1.0, float(expected.abs().max())), module


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("cat", {}),
        ("linear", {}),
        ("svd", {}),
        ("svd", {"rank": 2}),
        ("svd", {"rank": 12}),
        ("ties", {"density": 0.4}),
        ("ties", {"density": 0.7, "majority_sign": "frequency"}),
        ("ties", {"density": 1.0}),
        ("ties_svd", {"density": 0.4}),
        ("ties_svd", {"density": 0.6, "majority_sign": "frequency", "rank": 7}),
        ("magnitude_prune", {"density": 0.5}),
        ("magnitude_prune_svd", {"density": 0.5, "rank": 16}),
        ("dare_linear", {"density": 1.0}),
        ("dare_ties_svd", {"density": 1.0, "rank": 6}),
    ],
)
def test_equals_peft(pico_model, trio, kind, options):
    theirs = {"rank": "svd_rank", "majority_sign": "majority_sign_method"}
    expected = peft_deltas(pico_model(), trio, WEIGHTS, kind, **{theirs.get(k, k): v for k, v in options.items()})
    check(combine(opened(trio), Combination(kind, entries(trio), **options)), expected)


@pytest.mark.parametrize("kind", ["cat", "svd", "magnitude_prune_svd"])
def test_equals_peft_with_different_ranks_and_modules(pico_model, pico_adapter, kind):
    folders = [
        pico_adapter(seed=4, r=4, target_modules=["q_proj", "v_proj"]),
        pico_adapter(seed=5, r=6, target_modules=["q_proj", "up_proj"], rank_pattern={"up_proj": 3}),
    ]
    options = {"density": 0.5} if "prune" in kind else {}
    expected = peft_deltas(pico_model(), folders, WEIGHTS, kind, **options)
    ours = combine(opened(folders), Combination(kind, entries(folders), **options))
    check(ours, expected)
    assert {m.rpartition(".")[2] for m in ours.factors} == {"q_proj", "v_proj", "up_proj"}


@pytest.mark.parametrize("kind", ["cat", "linear", "svd", "ties", "ties_svd"])
def test_equals_peft_on_embeddings(pico_model, pico_adapter, kind):
    base = pico_model(tied=False)
    folders = [pico_adapter(seed=i, base=base, target_modules=["embed_tokens", "q_proj"]) for i in (6, 7)]
    options = {"density": 0.5} if "ties" in kind else {}
    expected = peft_deltas(base, folders, WEIGHTS, kind, **options)
    ours = combine(opened(folders), Combination(kind, entries(folders), **options))
    assert ours.embeddings == {"model.embed_tokens"}
    check(ours, expected)


def test_a_rank_beyond_the_matrix_is_all_there_is(pico_adapter):
    """peft fails when svd_rank exceeds a side of some matrix."""
    folders = [pico_adapter(seed=i) for i in (1, 2)]
    recipe = Combination("svd", entries(folders), rank=30)
    exact = combine(opened(folders), replace(recipe, combine="cat", rank=None))
    found = combine(opened(folders), recipe)
    for module, factor in found.factors.items():
        assert factor.rank <= min(exact.factors[module].shape)
        torch.testing.assert_close(factor.dense(), exact.factors[module].dense(), rtol=1e-4, atol=1e-5)
    assert found.relative_error < 1e-6


def random_factors(seed: int, m: int = 96, n: int = 80, r: int = 4) -> dict[str, Factors]:
    generator = torch.Generator().manual_seed(seed)
    return {"m": Factors(torch.randn(m, r, generator=generator), torch.randn(r, n, generator=generator), 0.5)}


def test_linear_has_cross_terms_and_cat_has_not():
    inputs = {"a0": random_factors(0), "a1": random_factors(1)}
    recipe = Combination("cat", entries(["x", "y"], (0.6, 0.8)))
    exact = sum(w * f["m"].scale * f["m"].b @ f["m"].a for f, w in zip(inputs.values(), (0.6, 0.8), strict=True))
    cat = combine_factors(inputs, recipe).factors["m"].dense()
    linear = combine_factors(inputs, replace(recipe, combine="linear")).factors["m"].dense()
    torch.testing.assert_close(cat, exact)
    one, two = inputs["a0"]["m"], inputs["a1"]["m"]
    cross = (0.6 * 0.8) ** 0.5 * 0.5 * (one.b @ two.a + two.b @ one.a)
    torch.testing.assert_close(linear, exact + cross)


@pytest.mark.parametrize("kind", ["dare_linear", "dare_ties", "dare_linear_svd", "dare_ties_svd"])
def test_dare_masks_depend_on_seed_and_names_only(kind):
    inputs = {"a0": random_factors(0), "a1": random_factors(1)}
    recipe = Combination(kind, entries(["x", "y"]), density=0.5)
    first = combine_factors(inputs, recipe, seed=3).factors["m"].dense()
    torch.testing.assert_close(combine_factors(inputs, recipe, seed=3).factors["m"].dense(), first, rtol=0, atol=0)
    assert not torch.allclose(combine_factors(inputs, recipe, seed=4).factors["m"].dense(), first)
    turned = replace(recipe, adapters=recipe.adapters[::-1])
    torch.testing.assert_close(
        combine_factors(inputs, turned, seed=3).factors["m"].dense(), first, rtol=1e-4, atol=1e-4
    )


def test_dare_linear_keeps_the_mean():
    """Averaged over seeds, pruned and rescaled factors are the factors of linear."""
    inputs = {"a0": random_factors(0), "a1": random_factors(1)}
    recipe = Combination("dare_linear", entries(["x", "y"]), density=0.5)
    linear = combine_factors(inputs, replace(recipe, combine="linear", density=None)).factors["m"]
    runs = [combine_factors(inputs, recipe, seed=seed).factors["m"] for seed in range(400)]
    for side in ("left", "right"):
        mean = torch.stack([getattr(run, side) for run in runs]).mean(0)
        wanted = getattr(linear, side)
        # density 0.5 makes an entry's deviation sqrt(sum (w x)^2); five standard errors of the mean, over all entries
        deviation = torch.stack([getattr(run, side) for run in runs]).std(0)
        assert ((mean - wanted).abs() <= 5 * deviation / 400**0.5 + 1e-6).all()


def test_dare_keeps_the_asked_share_of_entries():
    one = {"a0": random_factors(0, m=400, n=300, r=8)}
    kept = combine_factors(one, Combination("dare_linear", entries(["x"], (1.0,)), density=0.3)).factors["m"]
    for factor, entry in ((kept.left, one["a0"]["m"].b), (kept.right, one["a0"]["m"].a)):
        share = float((factor != 0).float().mean())
        assert abs(share - 0.3) < 5 * (0.21 / factor.numel()) ** 0.5
        torch.testing.assert_close(factor[factor != 0], (entry * 0.5**0.5 / 0.3)[factor != 0], rtol=1e-4, atol=1e-4)


def test_dare_linear_svd_at_full_rank_is_the_pruned_update():
    one = random_factors(0)
    recipe = Combination("dare_linear_svd", entries(["x"], (1.0,)), density=0.25, rank=80)
    combined = combine_factors({"a0": one}, recipe)
    dense, update = combined.factors["m"].dense(), 0.5 * one["m"].b @ one["m"].a
    kept = dense.abs() > 1e-3
    assert abs(float(kept.float().mean()) - 0.25) < 0.03
    torch.testing.assert_close(dense[kept], 4 * update[kept], rtol=1e-3, atol=1e-3)
    assert combined.relative_error < 1e-3


def test_more_than_ten_adapters_in_steps(pico_adapter):
    """Groups first, then their results: cat and svd of sums are sums, whatever the grouping."""
    folders = [pico_adapter(seed=20 + i, r=2, target_modules=["q_proj", "down_proj"]) for i in range(12)]
    weights = [0.1 * (i + 1) for i in range(12)]
    models = opened(folders)
    flat = Combination("svd", entries(folders, weights), rank=6)
    groups = tuple(
        AdapterEntry(f"g{i}", Combination("cat", entries(folders[i : i + 4], weights[i : i + 4])), 1.0)
        for i in range(0, 12, 4)
    )
    expected = combine(models, flat)
    found = combine(models, Combination("svd", groups, rank=6))
    assert found.relative_error == pytest.approx(expected.relative_error, rel=1e-4)
    for module, factor in found.factors.items():
        assert factor.rank == 6
        torch.testing.assert_close(factor.dense(), expected.factors[module].dense(), rtol=1e-4, atol=1e-5)


def test_stored_factors_are_those_of_the_file(trio):
    from safetensors.torch import load_file

    for folder in trio:
        file = load_file(folder / "adapter_model.safetensors")
        for module, factors in stored_factors(Adapter(folder)).items():
            torch.testing.assert_close(factors.a, file[f"base_model.model.{module}.lora_A.weight"])
            torch.testing.assert_close(factors.b, file[f"base_model.model.{module}.lora_B.weight"])


@pytest.mark.parametrize("shape", [(40, 90), (90, 40)])
def test_truncated_svd_is_the_best_of_its_rank(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, values, vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    found = truncated_svd(matrix, 5)
    dense = (found.u * found.values) @ found.v.mT
    torch.testing.assert_close(dense, ((u[:, :5] * values[:5]) @ vh[:5]).float(), rtol=1e-5, atol=1e-5)
    assert found.lost == pytest.approx(float(values[5:].square().sum()), rel=1e-5)
    assert found.energy == pytest.approx(float(values.square().sum()), rel=1e-5)
    assert truncated_svd(torch.zeros(shape), 3).values.tolist() == [0, 0, 0]


def test_large_updates_are_merged_in_blocks(monkeypatch):
    """The same result whatever the size of the blocks, also where pruning cuts through equal magnitudes."""
    inputs = {f"a{i}": random_factors(i) for i in range(3)}
    for factors in inputs.values():
        factors["m"].b.round_()
        factors["m"].a.round_()
    for kind in ("ties_svd", "dare_ties_svd", "magnitude_prune"):
        recipe = Combination(kind, entries(["x", "y", "z"]), density=0.37)
        whole = combine_factors(inputs, recipe).factors["m"].dense()
        with monkeypatch.context() as patch:
            patch.setattr("evomerge.engine.core.adapter_matrices._BLOCK", 700)
            torch.testing.assert_close(combine_factors(inputs, recipe).factors["m"].dense(), whole)


@pytest.mark.parametrize(
    ("kind", "other", "message"),
    [
        ("linear", random_factors(1, r=5), "linear needs equal ranks: 'm' has rank 4 in a0 and 5 in a1; use cat"),
        ("cat", random_factors(1, m=95), r"different bases: 'm' has shape \[96, 80\] in a0 and \[95, 80\] in a1"),
    ],
)
def test_adapters_that_do_not_fit_are_named(kind, other, message):
    with pytest.raises(UserError, match=message) as caught:
        combine_factors({"a0": random_factors(0), "a1": other}, Combination(kind, entries(["x", "y"])))
    assert "\n" not in str(caught.value)
