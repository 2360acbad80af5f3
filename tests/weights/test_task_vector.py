from __future__ import annotations

import pytest
import torch
from model_folders import write_like
from safetensors.torch import save_file

from evomerge.errors import UserError
from evomerge.tensors.lazy import dense
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import open_task_vector


def test_a_checkpoint_gives_dense_deltas_of_what_differs(pico_model, tmp_path):
    base = Checkpoint(pico_model())
    changed = {"model.norm.weight", "model.layers.1.mlp.up_proj.weight"}
    tensors = ((name, base[name] + 0.5 if name in changed else base[name]) for name in base.names)
    write_like(base, tmp_path / "expert", tensors)
    vector = open_task_vector(base, str(tmp_path / "expert"))
    assert not vector.is_lora and not vector.modules
    assert set(vector.names) == changed
    for name in changed:
        delta = dense(vector.delta(name))
        assert delta.dtype == torch.float32
        assert vector.factors(name) is None
        assert torch.equal(delta, (base[name] + 0.5).float() - base[name].float())


def test_an_adapter_gives_low_rank_deltas(pico_model, pico_adapter):
    vector = open_task_vector(Checkpoint(pico_model()), str(pico_adapter(r=3)))
    assert vector.is_lora
    assert len(vector.names) == 14
    assert vector.factors("model.norm.weight") is None
    name = vector.names[0]
    assert vector.factors(name).rank == 3
    assert torch.linalg.matrix_rank(dense(vector.delta(name))) == 3


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            {"intermediate_size": 48},
            r"'model.layers.0.mlp.down_proj.weight' has shape \[32, 48\], the base has \[32, 64\]",
        ),
        ({"num_hidden_layers": 1}, "has no parameter 'model.layers.1"),
        ({"num_hidden_layers": 3}, "parameter 'model.layers.2.* is not in the base"),
    ],
)
def test_a_checkpoint_of_another_base_is_named(pico_model, config, text):
    with pytest.raises(UserError, match=f"was not fine-tuned from .*{text}"):
        open_task_vector(Checkpoint(pico_model()), str(pico_model(**config)))


def test_raw_state_dicts_of_mixed_dtypes(tmp_path):
    generator = torch.Generator().manual_seed(0)
    base = {
        "same": torch.randn(4, 3, generator=generator).to(torch.bfloat16),
        "changed": torch.randn(5, 3, generator=generator).to(torch.bfloat16),
        "fp8": torch.randn(4, 4, generator=generator).to(torch.float8_e4m3fn),
        "positions": torch.arange(3),
    }
    expert = {
        "same": base["same"].float(),  # stored wider, the same numbers
        "changed": base["changed"].float() + 0.25,
        "fp8": (base["fp8"].float() * 2).to(torch.float8_e4m3fn),
        "positions": torch.arange(3) + 1,
    }
    save_file(base, tmp_path / "base.safetensors")
    torch.save(expert, tmp_path / "expert.pt")
    vector = open_task_vector(Checkpoint(tmp_path / "base.safetensors"), str(tmp_path / "expert.pt"))
    assert vector.names == ("changed", "fp8")
    for name in vector.names:
        delta = dense(vector.delta(name))
        assert torch.equal(delta, expert[name].float() - base[name].float())
        assert torch.equal(vector.delta(name).rows(1, 4), delta[1:4])


def test_rows_of_an_adapter_are_rows_of_its_delta(pico_model, pico_adapter):
    vector = open_task_vector(Checkpoint(pico_model()), str(pico_adapter()))
    for name in vector.names:
        delta = vector.delta(name)
        assert vector.factors(name).shape == delta.shape
        torch.testing.assert_close(delta.rows(3, 9), dense(delta)[3:9], rtol=1e-6, atol=1e-7)
