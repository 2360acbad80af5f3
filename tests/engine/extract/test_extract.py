from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from evomerge.engine.export import export_model
from evomerge.engine.extract.deltas import checkpoint_deltas
from evomerge.engine.extract.extract import extract
from evomerge.engine.extract.merge_into_deltas import deltas_of_merge, dense_deltas_of_merge
from evomerge.engine.extract.plan import ExtractOptions
from evomerge.engine.extract.settings import ExtractSettings
from evomerge.errors import UserError
from evomerge.tensors.lazy import LowRank, dense
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import open_task_vector

EXACT = ExtractOptions(rank=6, dtype=torch.float32)
NORM, EMBEDDINGS, HEAD = "model.layers.1.input_layernorm.weight", "model.embed_tokens.weight", "lm_head.weight"


def changed(options: ExtractOptions, **given: Any) -> ExtractOptions:
    """``options`` with other values, those of its settings among them."""
    own = {key: given.pop(key) for key in [*given] if key in ExtractSettings.__dataclass_fields__}
    return replace(options, settings=replace(options.settings, **own), **given)


@pytest.fixture
def tuned(pico_model: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[Checkpoint, Checkpoint]]:
    """``tuned(tied=True, bias=False, extra=0)``: a base and its fine-tune, everything changed a little."""

    def make(tied: bool = True, extra: int = 0, **config: object) -> tuple[Checkpoint, Checkpoint]:
        base = pico_model(dtype="float32", tied=tied, **config)
        model = AutoModelForCausalLM.from_pretrained(base)
        if extra:
            model.resize_token_embeddings(model.config.vocab_size + extra, mean_resizing=False)
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            noise = 0.01 * torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 2:
                rows, columns = parameter.shape
                noise = 0.1 * noise
                noise += 0.05 * torch.randn(rows, 3, generator=generator) @ torch.randn(3, columns, generator=generator)
            parameter.data += noise
        folder = tmp_path / "tuned"
        model.save_pretrained(folder)
        return Checkpoint(base), Checkpoint(folder)

    return make


def loaded(base: Checkpoint, adapter: Path, merged: bool) -> LlamaForCausalLM:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32), adapter)
    return model.merge_and_unload() if merged else model


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([[5, 6, 7, 8]])).logits


def weights(base: Checkpoint, adapter: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.data for name, tensor in loaded(base, adapter, merged=True).named_parameters()}


def lost(got: dict[str, torch.Tensor], base: Checkpoint, model: Checkpoint, names: Iterable[str]) -> float:
    names = list(names)
    total = sum(float((model[name] - base[name]).square().sum()) for name in names)
    return (sum(float((model[name] - got[name]).square().sum()) for name in names) / total) ** 0.5


@pytest.mark.parametrize("svd", ["randomized", "full"])
@pytest.mark.parametrize("correct_mean", [False, True])
@pytest.mark.parametrize("distribute_scale", [False, True])
def test_the_adapter_lacks_what_it_says(tuned, tmp_path, svd, correct_mean, distribute_scale):
    base, model = tuned()
    options = changed(EXACT, svd=svd, correct_mean=correct_mean, distribute_scale=distribute_scale)
    done = extract(checkpoint_deltas(base, model), tmp_path / "lora", "pico", options)
    got = weights(base, tmp_path / "lora")
    assert lost(got, base, model, base.names) == pytest.approx(done.relative_error, rel=1e-3)
    for part in done.parts:
        own = lost(got, base, model, [part.name])
        assert own == pytest.approx((part.lost / part.energy) ** 0.5, rel=1e-3, abs=1e-5)
        if part.how == "lora":
            assert part.rank == 6
            delta = (model[part.name] - base[part.name]).double()
            best = float(torch.linalg.svdvals(delta)[6:].square().sum())
            assert (part.lost / best) ** 0.5 < (1.2 if correct_mean else 1.01)
    assert set(done.left_out) == {n for n in base.names if "norm" in n or n == EMBEDDINGS}
    assert all(torch.equal(got[name], base[name]) for name in done.left_out)
    kept = json.loads((tmp_path / "lora" / "extraction.json").read_text())
    assert kept["total"]["relative_error"] == done.relative_error
    assert sum(part["energy"] for part in kept["parts"].values()) == pytest.approx(kept["total"]["energy"])
    assert kept["parts"][EMBEDDINGS]["how"] == "left out" and kept["options"]["svd"] == svd


def test_energy_decides_each_rank(tuned, tmp_path):
    base, model = tuned()
    done = extract(checkpoint_deltas(base, model), tmp_path / "lora", "pico", changed(EXACT, energy=0.9))
    for part in (part for part in done.parts if part.how == "lora"):
        squares = torch.linalg.svdvals(model[part.name] - base[part.name]).square()
        shares = squares.cumsum(0) / squares.sum()
        assert part.rank == int((shares < 0.9).sum()) + 1
        assert 1 - part.lost / part.energy == pytest.approx(float(shares[part.rank - 1]), abs=1e-4)
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["rank_pattern"], "ranks differ"
    capped = extract(checkpoint_deltas(base, model), tmp_path / "lora", "pico", changed(EXACT, energy=0.99, max_rank=2))
    assert capped.rank == 2
    whole = extract(checkpoint_deltas(base, model), tmp_path / "lora", "pico", changed(EXACT, energy=1.0))
    assert max(part.lost / part.energy for part in whole.parts if part.how == "lora") < 1e-5


@pytest.mark.parametrize("budget", [100, 2_000, 5_000, 10_000_000])
def test_the_budget_is_respected_and_spent_better_than_evenly(tuned, tmp_path, budget):
    base, model = tuned()
    deltas = checkpoint_deltas(base, model)
    done = extract(deltas, tmp_path / "lora", "pico", changed(EXACT, parameters=budget))
    assert done.parameters <= budget
    assert done.parameters == sum(part.parameters for part in done.parts)
    assert lost(weights(base, tmp_path / "lora"), base, model, base.names) == pytest.approx(
        done.relative_error, rel=1e-3, abs=1e-5
    )
    cost = sum(sum(base.shape(part.name)) for part in done.parts if part.name.endswith("proj.weight"))
    if 1 <= budget // cost <= 16:
        even = extract(deltas, tmp_path / "even", "pico", changed(EXACT, rank=budget // cost))
        assert done.relative_error < even.relative_error
    if budget == 10_000_000:
        assert max(part.lost / part.energy for part in done.parts if part.how == "lora") < 1e-5


def test_a_budget_that_buys_nothing_is_refused(tuned, tmp_path):
    with pytest.raises(UserError, match="parameters=10 buys nothing"):
        extract(checkpoint_deltas(*tuned()), tmp_path / "lora", "pico", changed(EXACT, parameters=10))
    assert not (tmp_path / "lora").exists()


def test_small_singular_values_are_dropped(tuned, tmp_path):
    base, model = tuned()
    name = "model.layers.0.mlp.up_proj.weight"
    values = torch.linalg.svdvals(model[name] - base[name])
    epsilon = float(values[1] + values[2]) / 2
    done = extract(checkpoint_deltas(base, model), tmp_path / "lora", "pico", changed(EXACT, sv_epsilon=epsilon))
    assert next(part.rank for part in done.parts if part.name == name) == 2


def test_include_and_exclude_are_regular_expressions(tuned, tmp_path):
    options = changed(EXACT, include=(r"layers\.0\.", "down"), exclude=("_proj$",))
    with pytest.raises(UserError, match="no linear layer got a direction"):
        extract(checkpoint_deltas(*tuned()), tmp_path / "lora", "pico", options)
    done = extract(checkpoint_deltas(*tuned()), tmp_path / "lora", "pico", changed(options, exclude=("[qkv]_proj",)))
    held = {part.name for part in done.parts if part.how == "lora"}
    layer = [f"model.layers.0.{m}.weight" for m in ("self_attn.o_proj", "mlp.up_proj", "mlp.gate_proj")]
    assert held == {*layer, "model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight"}


@pytest.mark.parametrize("tied", [False, True])
def test_whole_embeddings_and_norms_are_exact_attached_and_merged(tuned, tmp_path, tied):
    base, model = tuned(tied=tied)
    options = changed(EXACT, embeddings="full", norms="full", rank=64)
    done = extract(checkpoint_deltas(base, model), tmp_path / "lora", "pico", options)
    assert done.left_out == () and done.relative_error < 1e-5
    want = logits(AutoModelForCausalLM.from_pretrained(model.folder))
    for merged in (False, True):
        torch.testing.assert_close(logits(loaded(base, tmp_path / "lora", merged)), want, rtol=1e-3, atol=1e-4)


def test_untied_embeddings_and_head_as_lora(tuned, tmp_path):
    base, model = tuned(tied=False)
    options = changed(EXACT, embeddings="lora", norms="full", rank=300)
    done = extract(checkpoint_deltas(base, model), tmp_path / "lora", "pico", options)
    assert done.left_out == ()
    want = logits(AutoModelForCausalLM.from_pretrained(model.folder))
    for merged in (False, True):
        torch.testing.assert_close(logits(loaded(base, tmp_path / "lora", merged)), want, rtol=1e-3, atol=1e-4)
    small = extract(checkpoint_deltas(base, model), tmp_path / "lora", "pico", changed(EXACT, embeddings="lora"))
    got = weights(base, tmp_path / "lora")
    for name in (EMBEDDINGS, HEAD):
        part = next(part for part in small.parts if part.name == name)
        assert part.rank == 6
        assert lost(got, base, model, [name]) == pytest.approx((part.lost / part.energy) ** 0.5, rel=1e-3)


def test_tied_embeddings_as_lora_are_refused(tuned, tmp_path):
    with pytest.raises(UserError, match="tied"):
        extract(checkpoint_deltas(*tuned()), tmp_path / "lora", "pico", changed(EXACT, embeddings="lora"))


@pytest.mark.parametrize("policy", ["skip", "lora", "full"])
def test_biases(tuned, tmp_path, policy):
    base, model = tuned(attention_bias=True)
    options = changed(EXACT, energy=1.0, biases=policy, include=("self_attn", "up_proj")[: 1 + (policy != "lora")])
    done = extract(checkpoint_deltas(base, model), tmp_path / "lora", "pico", options)
    biases = [name for name in base.names if name.endswith(".bias")]
    got = weights(base, tmp_path / "lora")
    assert len(biases) == 8
    if policy == "skip":
        assert set(biases) <= set(done.left_out)
        assert all(torch.equal(got[name], base[name]) for name in biases)
    else:
        assert lost(got, base, model, biases) < 1e-5
        assert lost(got, base, model, [n for n in base.names if "self_attn" in n]) < 2e-3
    assert lost(got, base, model, base.names) == pytest.approx(done.relative_error, rel=1e-3, abs=1e-5)


def test_biases_as_lora_where_some_layers_have_none(tuned, tmp_path):
    options = changed(EXACT, biases="lora")
    with pytest.raises(UserError, match="has no bias"):
        extract(checkpoint_deltas(*tuned(attention_bias=True)), tmp_path / "lora", "pico", options)


def test_added_tokens_are_left_out_and_counted_or_kept_whole(tuned, tmp_path):
    base, model = tuned(tied=False, extra=3)
    done = extract(checkpoint_deltas(base, model), tmp_path / "lora", "pico", EXACT)
    assert done.added == 6  # three in the embeddings, three in the head
    whole = extract(checkpoint_deltas(base, model), tmp_path / "lora", "pico", changed(EXACT, added_tokens="full"))
    assert whole.added == 0
    resized = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.float32)
    resized.resize_token_embeddings(model.config["vocab_size"], mean_resizing=False)
    got = PeftModel.from_pretrained(resized, tmp_path / "lora").merge_and_unload()
    torch.testing.assert_close(got.get_input_embeddings().weight.data, model[EMBEDDINGS])
    torch.testing.assert_close(got.get_output_embeddings().weight.data, model[HEAD])


@pytest.mark.parametrize("rank", [2, 4])
def test_factors_and_their_dense_merge_give_the_same_adapter(merger, recipe_of, tmp_path, rank):
    recipe = recipe_of("task_arithmetic", dtype="float32")
    options = changed(EXACT, rank=rank)
    known = deltas_of_merge(merger, recipe)
    assert all(isinstance(change, LowRank) for _, change in known.read())
    one = extract(known, tmp_path / "one", "pico", options)
    two = extract(dense_deltas_of_merge(merger, recipe), tmp_path / "two", "pico", options)
    assert one.relative_error == pytest.approx(two.relative_error, rel=0.01)
    assert not any(isinstance(change, LowRank) for _, change in deltas_of_merge(merger, recipe_of("ties")).read())


def test_an_expert_is_recovered_from_its_checkpoint(merger, recipe_of, tmp_path):
    """An adapter merged into a float32 checkpoint comes back out at its own rank."""
    one = recipe_of("task_arithmetic", weights=((1.0, 0.0, 0.0),), dtype="float32")
    export_model(merger, one, tmp_path / "expert")
    deltas = checkpoint_deltas(merger.base, Checkpoint(tmp_path / "expert"))
    done = extract(deltas, tmp_path / "lora", "pico", changed(EXACT, rank=4))
    assert done.relative_error < 1e-4
    again = open_task_vector(merger.base, str(tmp_path / "lora"))
    for name in merger.experts["sql"].names:
        torch.testing.assert_close(
            dense(again.delta(name)), dense(merger.experts["sql"].delta(name)), rtol=1e-3, atol=1e-4
        )


def test_a_wrong_base_is_told(pico_model, tuned):
    _, model = tuned()
    with pytest.raises(UserError, match="nothing in common with the base's"):
        checkpoint_deltas(Checkpoint(pico_model(seed=5, dtype="float32")), model)
    with pytest.raises(UserError, match=r"has shape \[32, 64\], the base has"):
        checkpoint_deltas(Checkpoint(pico_model(dtype="float32", intermediate_size=48)), model)
    with pytest.raises(UserError, match="is not in the base"):
        checkpoint_deltas(Checkpoint(pico_model(dtype="float32", num_hidden_layers=1)), model)
    with pytest.raises(UserError, match="it has no parameter"):
        checkpoint_deltas(Checkpoint(pico_model(dtype="float32", num_hidden_layers=3)), model)


def test_no_difference_at_all(pico_model, tmp_path):
    base = Checkpoint(pico_model())
    for options in (EXACT, changed(EXACT, energy=0.9), changed(EXACT, parameters=1000)):
        with pytest.raises(UserError, match="does not differ from its base"):
            extract(checkpoint_deltas(base, Checkpoint(base.folder)), tmp_path / "lora", "pico", options)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_extraction_leaves_nothing_and_replaces_nothing(tuned, tmp_path):
    deltas = checkpoint_deltas(*tuned())
    extract(deltas, tmp_path / "lora", "pico", EXACT)
    before = {path.name: path.read_bytes() for path in (tmp_path / "lora").iterdir()}

    def stop(done: int, total: int) -> None:
        if done == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(deltas, tmp_path / "lora", "pico", changed(EXACT, rank=2), stop)
    assert {path.name: path.read_bytes() for path in (tmp_path / "lora").iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lora", "tuned"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"energy": 1.5}, r"energy must be in \(0, 1\], got 1.5"),
        ({"energy": 0.9, "parameters": 10}, "give one of them"),
        ({"rank": 0}, "rank must be at least 1, got 0"),
        ({"svd": "ful"}, "did you mean 'full'"),
        ({"norms": "lora"}, "norms=lora cannot be"),
        ({"biases": "ful"}, "did you mean 'full'"),
        ({"include": ("(",)}, "no regular expression"),
    ],
)
def test_what_cannot_be_asked_for(settings, said):
    with pytest.raises(UserError, match=said):
        changed(ExtractOptions(), **settings)
