from __future__ import annotations

import pytest

from evomerge.engine.layer_groups import layer_count, layer_group
from evomerge.weights.parameter_names import layer_index


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("model.layers.12.self_attn.q_proj.weight", 12),
        ("layers.3.mlp.up_proj.weight", 3),
        ("transformer.h.7.attn.c_attn.weight", 7),
        ("h.0.ln_1.bias", 0),
        ("encoder.block.5.layer.1.DenseReluDense.wi.weight", 5),
        ("transformer.blocks.2.ffn.weight", 2),
        ("bert.encoder.layer.4.output.dense.weight", 4),
        ("model.embed_tokens.weight", None),
        ("lm_head.weight", None),
    ],
)
def test_finds_the_layer_in_the_usual_namings(name, index):
    assert layer_index(name) == index


@pytest.mark.parametrize(("layers", "groups"), [(30, 4), (30, 30), (2, 2), (7, 3), (1, 1)])
def test_groups_are_runs_of_nearly_equal_length(layers, groups):
    names = [f"model.layers.{i}.mlp.up_proj.weight" for i in range(layers)]
    assert layer_count([*names, "model.norm.weight"]) == layers
    found = [layer_group(name, groups, layers) for name in names]
    assert found == sorted(found)
    assert set(found) == set(range(groups))
    sizes = [found.count(group) for group in range(groups)]
    assert max(sizes) - min(sizes) <= 1


def test_the_ends_go_with_the_nearest_layer():
    assert layer_group("model.embed_tokens.weight", 3, 30) == 0
    assert layer_group("wte.weight", 3, 30) == 0
    assert layer_group("model.norm.weight", 3, 30) == 2
    assert layer_group("lm_head.weight", 3, 30) == 2
    assert layer_group("embed_out.weight", 3, 30) == 2, "the head of GPT-NeoX and Pythia, whatever its name says"
    assert layer_group("gpt_neox.embed_in.weight", 3, 30) == 0
