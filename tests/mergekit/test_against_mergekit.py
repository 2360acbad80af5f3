"""mergekit files end to end: merged models equal those of mergekit 0.1.5."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from transformers import AutoModelForCausalLM

from evomerge.jobs.steps.merge_models import merge_documents
from evomerge.mergekit import load
from evomerge.weights.checkpoint import Checkpoint

LAYERS = 4


@pytest.fixture
def models(pico_model) -> dict[str, str]:
    return {name: str(pico_model(seed, "float32", num_hidden_layers=LAYERS)) for seed, name in enumerate("abcd")}


def entry(model: str, **parameters: Any) -> dict[str, Any]:
    return {"model": model, **({"parameters": parameters} if parameters else {})}


def document(method: str, models: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"merge_method": method, "models": models, "dtype": "float32", **more}


def examples(m: dict[str, str]) -> dict[str, dict[str, Any]]:
    a, b, c = m["a"], m["b"], m["c"]
    gradient = [0.2, 0.9, 0.4]
    filters = [{"filter": "self_attn", "value": [0.1, 0.7]}, {"filter": "mlp", "value": 0.6}, {"value": 0.3}]
    weighted = [entry(b, weight=0.7, density=0.5), entry(c, weight=-0.4, density=0.8)]
    return {
        "linear": document("linear", [entry(a, weight=0.4), entry(b, weight=gradient)]),
        "linear, not normalized": document(
            "linear", [entry(a, weight=0.4), entry(b, weight=filters)], parameters={"normalize": False}
        ),
        "task_arithmetic": document("task_arithmetic", [entry(b, weight=0.7), entry(c, weight=filters)], base_model=a),
        "ties": document("ties", weighted, base_model=a),
        "ties, lambda": document(
            "ties",
            [entry(b, weight=gradient, density=[0.3, 0.9]), entry(c, weight=filters, density=0.2)],
            base_model=a,
            parameters={"normalize": False, "lambda": 0.7},
        ),
        "breadcrumbs": document(
            "breadcrumbs", [entry(b, weight=0.7, density=0.6, gamma=0.05), entry(c, weight=0.5)], base_model=a
        ),
        "breadcrumbs_ties": document(
            "breadcrumbs_ties", [entry(b, weight=0.7, density=0.6, gamma=0.05), entry(c, weight=0.5)], base_model=a
        ),
        "sce": document("sce", [entry(b), entry(c)], base_model=a, parameters={"select_topk": 0.4}),
        "model_stock": document("model_stock", [entry(b), entry(c)], base_model=a),
        "slerp": document("slerp", [entry(a), entry(b)], base_model=a, parameters={"t": filters}),
        "nuslerp": document("nuslerp", [entry(a, weight=0.3), entry(b, weight=0.8)]),
        "multislerp": document("multislerp", [entry(b, weight=0.3), entry(c, weight=0.8)], base_model=a),
        "karcher": document("karcher", [entry(a), entry(b), entry(c)]),
        "nearswap": document("nearswap", [entry(a), entry(b)], base_model=a, parameters={"t": 0.05}),
        "arcee_fusion": document("arcee_fusion", [entry(a), entry(b)], base_model=a),
        "passthrough, deeper": {
            "merge_method": "passthrough",
            "dtype": "float32",
            "slices": [
                {"sources": [{"model": a, "layer_range": [0, 3]}]},
                {"sources": [{"model": b, "layer_range": [1, 4], "parameters": {"scale": 0.5}}]},
            ],
        },
        "slices of slerps": {
            "merge_method": "slerp",
            "base_model": a,
            "dtype": "float32",
            "parameters": {"t": gradient},
            "slices": [
                {"sources": [{"model": a, "layer_range": [0, 2]}, {"model": b, "layer_range": [2, 4]}]},
                {
                    "sources": [{"model": a, "layer_range": [1, 4]}, {"model": b, "layer_range": [0, 3]}],
                    "parameters": {"t": 0.9},
                },
            ],
        },
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", list(examples(dict.fromkeys("abcd", ""))))
def test_equals_mergekit(name, dtype, models, tmp_path):
    config = {**examples(models)[name], "out_dtype": dtype}
    by_mergekit = peer(config, tmp_path / "peer")
    merged = ours(config, tmp_path)
    assert set(merged.names) == set(by_mergekit.names)
    for tensor in merged.names:
        assert merged[tensor].dtype == by_mergekit[tensor].dtype, tensor
        if dtype == "float32":
            torch.testing.assert_close(
                merged[tensor], by_mergekit[tensor], rtol=1e-6, atol=1e-6, msg=f"{name} {tensor}"
            )
        else:  # both round a float32 result once; results on either side of a border differ by one step
            torch.testing.assert_close(merged[tensor], by_mergekit[tensor], rtol=2**-7, atol=1e-6)
    for key in ("num_hidden_layers", "vocab_size", "tie_word_embeddings", "architectures"):
        assert merged.config[key] == by_mergekit.config[key]
    model, info = AutoModelForCausalLM.from_pretrained(merged.folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert model.dtype == getattr(torch, dtype)


def test_documents_that_use_each_other(models, tmp_path):
    """What mergekit-multi does with several runs: the result of one document is a model of the next."""
    first = document("linear", [entry(models["a"], weight=1.0), entry(models["b"], weight=1.0)], name="mean")
    second = document("task_arithmetic", [entry("mean", weight=0.5), entry(models["c"], weight=0.5)])
    second |= {"base_model": models["a"]}
    path = tmp_path / "chain.yaml"
    path.write_text(yaml.safe_dump_all([first, second]))
    merge_documents(load(path), tmp_path / "out", seed=0)
    a, b, c, merged = (Checkpoint(folder) for folder in (*(models[n] for n in "abc"), tmp_path / "out"))
    for name in merged.names:
        torch.testing.assert_close(
            merged[name], a[name] + 0.5 * ((a[name] + b[name]) / 2 - a[name]) + 0.5 * (c[name] - a[name]),
            rtol=1e-5, atol=1e-6,
        )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain.yaml", "out"], "no step is left behind"


def ours(config: dict[str, Any], folder: Path) -> Checkpoint:
    path = folder / "merge.yaml"
    path.write_text(json.dumps(config))
    merge_documents(load(path), folder / "ours", seed=0)
    return Checkpoint(folder / "ours")


def peer(config: dict[str, Any], out: Path) -> Checkpoint:
    run_merge(MergeConfiguration.model_validate(config), str(out), MergeOptions(copy_tokenizer=True, quiet=True))
    return Checkpoint(out)
