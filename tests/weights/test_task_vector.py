from __future__ import annotations

import pytest
import torch

from evomerge.errors import UserError
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import DenseTaskVector, LowRankTaskVector, open_task_vector
from evomerge.weights.writer import write_model


def test_a_checkpoint_gives_dense_deltas_of_what_differs(pico_model, tmp_path):
    base = Checkpoint(pico_model())
    changed = {"model.norm.weight", "model.layers.1.mlp.up_proj.weight"}
    tensors = ((name, base[name] + 0.5 if name in changed else base[name]) for name in base.names)
    write_model(tmp_path / "expert", tensors, base.folder, "bfloat16")
    vector = open_task_vector(base, str(tmp_path / "expert"))
    assert isinstance(vector, DenseTaskVector)
    assert set(vector.names) == changed
    for name in changed:
        delta = vector.delta(name)
        assert delta.dtype == torch.float32
        assert vector.low_rank(name) is None
        assert torch.equal(delta, (base[name] + 0.5).float() - base[name].float())


def test_an_adapter_gives_low_rank_deltas(pico_model, pico_adapter):
    vector = open_task_vector(Checkpoint(pico_model()), str(pico_adapter(r=3)))
    assert isinstance(vector, LowRankTaskVector)
    assert len(vector.names) == 14
    assert vector.low_rank("model.norm.weight") is None
    name = vector.names[0]
    assert vector.low_rank(name).rank == 3
    assert torch.linalg.matrix_rank(vector.delta(name)) == 3


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
