from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from evomerge.tensors.lazy import LowRank
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.adapters.writer import new_adapter, write_adapter
from evomerge.weights.checkpoint import Checkpoint


def factors_of(modules: dict[str, tuple[int, int, int]]) -> dict[str, LowRank]:
    generator = torch.Generator().manual_seed(0)
    return {
        module: LowRank(torch.randn(m, r, generator=generator), torch.randn(r, n, generator=generator))
        for module, (m, n, r) in modules.items()
    }


def test_peft_loads_a_written_adapter_of_mixed_ranks(pico_model, tmp_path):
    folder = pico_model(dtype="float32")
    modules = {
        "model.layers.0.self_attn.q_proj": (32, 32, 3),
        "model.layers.1.self_attn.q_proj": (32, 32, 5),
        "model.layers.1.mlp.up_proj": (64, 32, 3),
    }
    factors = factors_of(modules)
    write_adapter(tmp_path / "lora", factors, str(folder), dtype=torch.float32)
    merged = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(folder), tmp_path / "lora"
    ).merge_and_unload()
    base = Checkpoint(folder)
    for name, parameter in merged.named_parameters():
        module = name.removesuffix(".weight")
        expected = base[name] + factors[module].dense() if module in factors else base[name]
        torch.testing.assert_close(parameter.data, expected, rtol=1e-5, atol=1e-5)
    again = Adapter(tmp_path / "lora")
    assert all(torch.equal(again.factors[module].left, factors[module].left) for module in modules)


def test_adapters_are_small_by_default(tmp_path):
    factors = factors_of({"model.layers.0.mlp.up_proj": (640, 320, 8)})
    write_adapter(tmp_path / "lora", factors, "base")
    size = (tmp_path / "lora" / "adapter_model.safetensors").stat().st_size
    assert size < (640 + 320) * 8 * 2 + 500  # two bytes a number and a short header
    assert json.loads((tmp_path / "lora" / "adapter_config.json").read_text())["target_modules"] == [
        "model.layers.0.mlp.up_proj"
    ]


def test_an_error_leaves_the_old_adapter_and_no_rubbish(tmp_path):
    factors = factors_of({"model.layers.0.mlp.up_proj": (64, 32, 8)})
    write_adapter(tmp_path / "lora", factors, "base")
    before = (tmp_path / "lora" / "adapter_model.safetensors").read_bytes()
    with pytest.raises(KeyboardInterrupt), new_adapter(tmp_path / "lora", "base") as writer:
        writer.linear("m", LowRank(torch.ones(4, 1), torch.ones(1, 4)))
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["lora"]
    assert (tmp_path / "lora" / "adapter_model.safetensors").read_bytes() == before


def test_short_target_names_only_where_every_module_of_that_name_came(tmp_path):
    base = [f"model.layers.{layer}.mlp.{leaf}" for layer in (0, 1) for leaf in ("up_proj", "down_proj")]
    for came, targets in ((base[:1] + base[2:3], ["up_proj"]), (base[:3], sorted(base[:3]))):
        write_adapter(tmp_path / "lora", factors_of(dict.fromkeys(came, (8, 8, 2))), "base", base)
        config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
        assert config["target_modules"] == targets
