from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.writer import write_model


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
