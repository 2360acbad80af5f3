from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from evomerge.errors import UserError
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.writer import write_model


def test_gives_names_shapes_and_values_of_the_file(pico_model):
    folder = pico_model()
    stored = load_file(folder / "model.safetensors")
    checkpoint = Checkpoint(folder)
    assert set(checkpoint.names) == set(stored)
    for name, tensor in stored.items():
        assert checkpoint.shape(name) == tuple(tensor.shape)
        assert torch.equal(checkpoint[name], tensor)
    assert checkpoint.config["num_hidden_layers"] == 2


def test_shards_read_like_one_file(pico_model, tmp_path):
    whole = Checkpoint(pico_model())
    write_model(tmp_path / "shards", whole.items(), whole.folder, "bfloat16", max_shard_bytes=10_000)
    shards = Checkpoint(tmp_path / "shards")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert shards.names == whole.names
    assert all(torch.equal(shards[name], whole[name]) for name in whole.names)


def test_a_stored_tied_head_is_left_out(pico_model, tmp_path):
    folder = tmp_path / "tied"
    shutil.copytree(pico_model(), folder)
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, folder / "model.safetensors")
    assert Checkpoint(folder).names == Checkpoint(pico_model()).names
    assert "lm_head.weight" in Checkpoint(pico_model(tied=False)).names


def test_says_what_is_wrong_with_a_folder(pico_model, tmp_path):
    with pytest.raises(UserError, match=r"has no config.json"):
        Checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"has no model.safetensors: convert it"):
        Checkpoint(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"cannot read .*model.safetensors"):
        Checkpoint(tmp_path)
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"model-00001-of-00002.safetensors is missing"):
        Checkpoint(tmp_path)
