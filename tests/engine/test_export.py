from __future__ import annotations

import pytest
import torch
from peft import PeftModel
from pico_recipes import FACTORED
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.engine.export import export_lora, export_model


def peft_merged(base, adapter) -> dict[str, torch.Tensor]:
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), adapter)
    return dict(model.merge_and_unload().named_parameters())


@pytest.mark.parametrize("method", FACTORED)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.006)])
def test_a_factored_merge_is_the_same_as_a_lora(merger, recipe_of, tmp_path, method, dtype, tolerance):
    recipe = recipe_of(method, dtype="float32")
    export = export_lora(merger, recipe, tmp_path / "lora", dtype=dtype)
    assert (export.relative_error, export.rank, export.left_out, export.how) == (0.0, 9, (), "exact")
    got = peft_merged(merger.base.folder, tmp_path / "lora")
    lost = total = 0.0
    for name, tensor in merger.tensors(recipe):
        lost += float((got[name] - tensor).square().sum())
        total += float((tensor - merger.base[name]).square().sum())
    assert (lost / total) ** 0.5 < tolerance
    unchanged = set(merger.base.names) - set(merger.changed(recipe))
    assert all(torch.equal(got[name], merger.base[name].float()) for name in unchanged)


@pytest.mark.parametrize("rank", [None, 4])
def test_a_dense_merge_says_what_the_lora_loses(merger, recipe_of, tmp_path, rank):
    recipe = recipe_of("ties", dtype="float32")
    export = export_lora(merger, recipe, tmp_path / "lora", rank, dtype=torch.float32)
    assert (export.rank, export.how) == (rank or 9, "truncated")
    got = peft_merged(merger.base.folder, tmp_path / "lora")
    lost = total = best = 0.0
    for name, tensor in merger.tensors(recipe):
        delta = tensor - merger.base[name]
        lost += float((got[name] - tensor).square().sum())
        best += float(torch.linalg.svdvals(delta)[export.rank :].square().sum())
        total += float(delta.square().sum())
    assert export.relative_error == pytest.approx((lost / total) ** 0.5, rel=1e-3)
    assert export.relative_error == pytest.approx((best / total) ** 0.5, rel=1e-3)
    assert export.relative_error > 0.05


def test_the_adapter_names_its_modules_as_serving_engines_want(merger, recipe_of, tmp_path):
    import json

    export_lora(merger, recipe_of("core_tsv"), tmp_path / "lora")
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(
        ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    )
    assert config["base_model_name_or_path"] == "pico"


def test_exports_repeat_byte_for_byte(merger, recipe_of, tmp_path):
    for name in ("one", "two"):
        torch.manual_seed(hash(name))
        export_lora(merger, recipe_of("ties"), tmp_path / name / "lora")
        export_model(merger, recipe_of("ties"), tmp_path / name / "model")
    for file in (tmp_path / "one").rglob("*.*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes()


def test_the_model_folder_generates_with_its_own_tokenizer(merger, recipe_of, tmp_path):
    folder = export_model(merger, recipe_of("dare_linear"), tmp_path / "model")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    output = model.generate(**tokenizer("SELECT", return_tensors="pt"), max_new_tokens=3, do_sample=False)
    assert isinstance(tokenizer.decode(output[0]), str)
    assert model.dtype == torch.bfloat16


@pytest.mark.parametrize("how", ["truncated", "compressed"])
def test_a_smaller_rank_says_how_it_was_made_and_what_it_loses(merger, recipe_of, tmp_path, how):
    recipe = recipe_of("core_tsv", dtype="float32")
    export = export_lora(merger, recipe, tmp_path / "lora", 3, dtype=torch.float32, compressed=how == "compressed")
    assert export.rank == 3
    got = peft_merged(merger.base.folder, tmp_path / "lora")
    lost = total = 0.0
    for name, tensor in merger.tensors(recipe):
        lost += float((got[name] - tensor).square().sum())
        total += float((tensor - merger.base[name]).square().sum())
    assert export.relative_error == pytest.approx((lost / total) ** 0.5, rel=1e-3)
    assert export.how == how
