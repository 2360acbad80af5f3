from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import LoraConfig, PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from evomerge.errors import UserError
from evomerge.tensors.lazy import dense
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.adapters.updates import updates_on
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import lora_vector

PATTERNS = {
    "rank_pattern": {"q_proj": 6, r"layers\.1\.mlp\.up_proj": 2},
    "alpha_pattern": {"k_proj": 3, r"layers\.0\.mlp\.down_proj": 1},
}


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_rslora": True}, PATTERNS, PATTERNS | {"use_rslora": True}, {"target_modules": ["q_proj"]}],
    ids=["plain", "rslora", "patterns", "rslora_patterns", "few_modules"],
)
def test_deltas_are_what_peft_merges(pico_model, pico_adapter, settings):
    folder = pico_model(dtype="float32", tied=False)
    base = Checkpoint(folder)
    adapter = pico_adapter(base=folder, **settings)
    vector = lora_vector(Adapter(adapter), base)
    merged = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter).merge_and_unload()
    parameters = dict(merged.named_parameters())
    changed = {name for name in base.names if not torch.equal(parameters[name], base[name])}
    assert changed == set(vector.names)
    for name in vector.names:
        torch.testing.assert_close(base[name] + dense(vector.delta(name)), parameters[name].data, rtol=1e-5, atol=1e-6)


def test_fits_a_checkpoint_saved_without_the_outer_prefix(pico_model, pico_adapter, tmp_path):
    shutil.copytree(pico_model(), tmp_path / "inner")
    tensors = load_file(tmp_path / "inner" / "model.safetensors")
    inner = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    save_file(inner, tmp_path / "inner" / "model.safetensors", metadata={"format": "pt"})
    vector = lora_vector(Adapter(pico_adapter()), Checkpoint(tmp_path / "inner"))
    assert "layers.0.self_attn.q_proj.weight" in vector.names
    assert vector.modules["layers.0.self_attn.q_proj.weight"] == "model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize("config", [{"hidden_size": 48}, {"num_hidden_layers": 1}], ids=["shape", "name"])
def test_an_adapter_of_another_base_is_named(pico_model, pico_adapter, config):
    adapter = Adapter(pico_adapter())
    with pytest.raises(
        UserError, match=r"made for another base: .*layers\.[01]\.mlp\.down_proj.*its base is"
    ) as caught:
        updates_on(adapter, Checkpoint(pico_model(**config)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights='pissa_niter_4'"),
        ({"trainable_token_indices": [1, 2]}, "trainable_token_indices="),
        ({"peft_type": "IA3"}, "peft_type='IA3'"),
        ({"megatron_config": {"a": 1}}, "megatron_config="),
    ],
)
def test_refuses_by_configuration(pico_adapter, tmp_path, change, text):
    folder = tmp_path / "adapter"
    shutil.copytree(pico_adapter(), folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=f"cannot be merged exactly \\({text}.*merge_and_unload"):
        Adapter(folder)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"lora_alpha": "16"}, r"lora_alpha='16' and alpha_pattern=.*wanted a number"),
        ({"lora_alpha": None}, "lora_alpha=None"),
        ({"alpha_pattern": {"(q_proj": 3}}, r"alpha_pattern={'\(q_proj': 3} \(missing \), unterminated"),
        ({"alpha_pattern": ["q_proj"]}, r"alpha_pattern=\['q_proj'\]"),
        ({"use_dora": True}, "use_dora=True, which does not go with the magnitudes that it holds"),
    ],
)
def test_refuses_a_configuration_that_does_not_go_with_the_tensors(pico_adapter, tmp_path, change, text):
    folder = tmp_path / "adapter"
    shutil.copytree(pico_adapter(), folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=f"{text}.*: save it again with peft's save_pretrained"):
        Adapter(folder)


def test_without_an_alpha_it_is_pefts_own(pico_adapter, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(pico_adapter(), folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    del config["lora_alpha"]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    assert Adapter(folder).scale("q_proj", 4) == LoraConfig().lora_alpha / 4


@pytest.mark.parametrize("key", ["lora_A.other.weight", "lora_A.weight"])
def test_refuses_a_second_adapter_and_codes(pico_adapter, tmp_path, key):
    folder = tmp_path / "adapter"
    shutil.copytree(pico_adapter(), folder)
    module = "base_model.model.model.layers.0.mlp.up_proj"
    weights = folder / "adapter_model.safetensors"
    tensors = load_file(weights)
    tensors[f"{module}.{key}"] = tensors[f"{module}.lora_A.weight"].to(torch.int8 if key == "lora_A.weight" else None)
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, weights)
    with pytest.raises(UserError, match=r"holds (several adapters|codes of torch.int8, no numbers,) under '.*up_proj"):
        Adapter(folder)


def test_refuses_foreign_or_missing_tensors(pico_model, pico_adapter, tmp_path):
    folder = tmp_path / "adapter"
    shutil.copytree(pico_adapter(), folder)
    weights = folder / "adapter_model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"base_model.model.model.embed_tokens.lora_embedding_A": torch.zeros(2, 2)}, weights)
    with pytest.raises(UserError, match=r"no matching factors .*model.embed_tokens"):
        Adapter(folder)
    save_file(tensors | {"base_model.model.model.ghost.weight": torch.zeros(2, 2)}, weights)
    with pytest.raises(UserError, match=r"made for another base: .* has no parameter 'model.ghost.weight'"):
        updates_on(Adapter(folder), Checkpoint(pico_model()))
    save_file(tensors | {"optimizer.state": torch.zeros(2, 2)}, weights)
    with pytest.raises(UserError, match=r"'optimizer.state', which names no part of a model"):
        Adapter(folder)
    tensors.pop("base_model.model.model.layers.0.mlp.up_proj.lora_A.weight")
    save_file(tensors, weights)
    with pytest.raises(UserError, match=r"no matching factors .*layers.0.mlp.up_proj"):
        Adapter(folder)
    weights.unlink()
    with pytest.raises(UserError, match="cannot read"):
        Adapter(folder)
    with pytest.raises(UserError, match=r"no adapter_config.json"):
        Adapter(tmp_path)
