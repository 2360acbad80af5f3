"""Merges refuse quantized checkpoints, because they would take codes for weights."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from evomerge.engine.load_merger import merger_for
from evomerge.errors import UserError
from evomerge.mergekit import ModelRef
from evomerge.mergekit.inputs import open_inputs
from evomerge.types import Expert
from evomerge.weights.quantized import plain_checkpoint

LAYER = "model.layers.0.mlp.up_proj"
CODES = torch.zeros(8, 32, dtype=torch.int32)
STORED = {
    "gptq": {".qweight": CODES, ".qzeros": CODES[:1].clone(), ".scales": torch.ones(1, 64, dtype=torch.float16)},
    "bitsandbytes 8": {".weight": torch.zeros(64, 32, dtype=torch.int8), ".SCB": torch.ones(64)},
    "bitsandbytes 4": {".weight": torch.zeros(1024, 1, dtype=torch.uint8), ".weight.absmax": torch.ones(4)},
    "fp8": {".weight": torch.zeros(64, 32).to(torch.float8_e4m3fn), ".weight_scale_inv": torch.ones(1, 1)},
    "fp8 alone": {".weight": torch.zeros(64, 32).to(torch.float8_e5m2)},
    "mxfp4": {"_blocks": torch.zeros(4, 16, dtype=torch.uint8), "_scales": torch.zeros(4, dtype=torch.uint8)},
    "compressed": {".weight_packed": CODES, ".weight_scale": torch.ones(64)},
}


@pytest.fixture
def quantized(pico_model, tmp_path):
    """A copy of the tiny model in which one layer is stored as given, or whose configuration says so."""

    def make(stored=None, **config):
        folder = tmp_path / "quantized"
        shutil.copytree(pico_model(), folder)
        if stored is not None:
            tensors = load_file(folder / "model.safetensors")
            del tensors[f"{LAYER}.weight"]
            save_file(tensors | {LAYER + part: tensor for part, tensor in stored.items()}, folder / "model.safetensors")
        content = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(content))
        return folder

    return make


@pytest.mark.parametrize("kind", STORED)
def test_known_by_what_is_stored(quantized, kind):
    with pytest.raises(UserError, match=r"is quantized \(.*model.layers.0.mlp.up_proj.*give the model that it was"):
        plain_checkpoint(quantized(STORED[kind]))


@pytest.mark.parametrize("inside", [False, True])
def test_known_by_its_configuration(quantized, inside):
    stated = {"quantization_config": {"quant_method": "awq"}}
    with pytest.raises(UserError, match=r"is quantized \(quant_method=awq\)"):
        plain_checkpoint(quantized(**({"text_config": stated} if inside else stated)))


def test_refused_as_base_and_as_expert(quantized, pico_model, pico_adapter):
    folder = str(quantized(STORED["bitsandbytes 8"]))
    for base, expert in ((folder, pico_adapter()), (pico_model(), folder), (folder, folder)):
        with pytest.raises(UserError, match="is quantized"):
            merger_for(str(base), (Expert("x", str(expert)),))
    with pytest.raises(UserError, match="is quantized"):
        open_inputs((ModelRef(str(pico_model())), ModelRef(folder)), {})


def test_plain_models_are_not_refused(pico_model):
    folder = pico_model(dtype="float16")
    assert plain_checkpoint(folder).folder == folder
