from __future__ import annotations

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.weights.adapter import Adapter, LowRank
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.writer import write_adapter, write_model


def factors_of(modules: dict[str, tuple[int, int, int]]) -> dict[str, LowRank]:
    generator = torch.Generator().manual_seed(0)
    return {
        module: LowRank(torch.randn(m, r, generator=generator), torch.randn(r, n, generator=generator))
        for module, (m, n, r) in modules.items()
    }


@pytest.mark.parametrize("max_shard_bytes", [1 << 30, 8_000])
def test_transformers_loads_a_written_model(pico_model, tmp_path, max_shard_bytes):
    base = Checkpoint(pico_model())
    tensors = {name: (base[name].float() * 1.5) for name in base.names}
    write_model(tmp_path / "model", tensors.items(), base.folder, "float32", max_shard_bytes)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype="auto")
    assert model.dtype == torch.float32
    loaded = dict(model.named_parameters())
    assert set(loaded) == set(tensors)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    text = "SELECT 1; déjà"
    assert AutoTokenizer.from_pretrained(tmp_path / "model")(text) == AutoTokenizer.from_pretrained(base.folder)(text)


def test_the_same_tensors_give_the_same_files(pico_model, tmp_path):
    base = Checkpoint(pico_model())
    for name in ("one", "two"):
        write_model(tmp_path / name, base.items(), base.folder, "bfloat16", 20_000)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir())
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)


def test_a_failed_write_leaves_the_old_folder_and_no_rubbish(pico_model, tmp_path):
    base = Checkpoint(pico_model())
    write_model(tmp_path / "model", base.items(), base.folder, "bfloat16")
    before = (tmp_path / "model" / "model.safetensors").read_bytes()

    def interrupted():
        yield "model.norm.weight", base["model.norm.weight"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_model(tmp_path / "model", interrupted(), base.folder, "bfloat16")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before


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
