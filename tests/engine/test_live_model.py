from __future__ import annotations

import pytest
import torch
from pico_recipes import RECIPES, checksum
from transformers import AutoModelForCausalLM

from evomerge.engine.export import export_model
from evomerge.engine.live_model import LiveModel
from evomerge.errors import UserError
from evomerge.types import Expert, Recipe


@pytest.fixture
def live(pico_model):
    return LiveModel(pico_model())


@pytest.mark.parametrize("method", RECIPES)
def test_in_place_is_the_model_on_disk_bit_for_bit(live, merger, recipe_of, method, tmp_path):
    recipe = recipe_of(method)
    live.apply(merger, recipe)
    saved = AutoModelForCausalLM.from_pretrained(export_model(merger, recipe, tmp_path / "model"))
    assert saved.dtype == torch.bfloat16
    here = dict(live.model.named_parameters())
    assert all(torch.equal(here[name], parameter) for name, parameter in saved.named_parameters())


def test_restore_gives_the_base_bit_for_bit(live, merger, recipe_of):
    pristine = checksum(live)
    live.apply(merger, recipe_of("ties"))
    assert checksum(live) != pristine
    live.restore()
    assert checksum(live) == pristine


def test_a_recipe_leaves_no_trace_in_the_next(live, merger, recipe_of, adapters, pico_model):
    narrow = Recipe("pico", (Expert("code", str(adapters["code"])),), "task_arithmetic", ((1.0,),))
    live.apply(merger, narrow)
    alone = checksum(live)
    live.apply(merger, recipe_of("dare_ties"))
    live.apply(merger, narrow)  # changes fewer parameters than the one before
    assert checksum(live) == alone


def test_a_refused_recipe_leaves_the_base(live, merger, recipe_of):
    pristine = checksum(live)
    live.apply(merger, recipe_of("ties"))
    with pytest.raises(UserError, match="sum to 0"):
        live.apply(merger, recipe_of("linear", weights=((1.0, -1.0, 0.0),)))
    assert checksum(live) == pristine


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_stay_tied_and_untied_ones_apart(pico_model, make_merger, recipe_of, tied):
    folder = pico_model(tied=tied)
    live, merger = LiveModel(folder), make_merger(folder)
    live.apply(merger, recipe_of("task_arithmetic"))
    embedding, head = live.model.get_input_embeddings().weight, live.model.get_output_embeddings().weight
    assert (embedding.data_ptr() == head.data_ptr()) == tied
    assert torch.equal(embedding, merger.base["model.embed_tokens.weight"])


def test_a_wider_model_holds_the_recipes_rounded_values(pico_model, make_merger, recipe_of, tmp_path):
    folder = pico_model(dtype="float32")
    live, merger, recipe = LiveModel(folder, dtype="float32"), make_merger(folder), recipe_of("task_arithmetic")
    live.apply(merger, recipe)
    saved = AutoModelForCausalLM.from_pretrained(export_model(merger, recipe, tmp_path / "model"))
    here = dict(live.model.named_parameters())
    assert all(torch.equal(here[name], parameter.float()) for name, parameter in saved.named_parameters())
    live.restore()
    assert checksum(live) == checksum(LiveModel(folder, dtype="float32"))


def test_the_base_on_disk_is_never_written(pico_model, live, merger, recipe_of):
    before = (pico_model() / "model.safetensors").read_bytes()
    live.apply(merger, recipe_of("ties"))
    assert (pico_model() / "model.safetensors").read_bytes() == before
    assert not torch.equal(
        live.model.model.layers[0].mlp.up_proj.weight, live.base["model.layers.0.mlp.up_proj.weight"]
    )
