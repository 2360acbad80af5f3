"""A merge never writes NaN or infinity, and names the parameter and model that hold them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pico_recipes import checksum
from safetensors.torch import load_file, save_file

from evomerge.engine.dense.merge_tensor import CopiedTensor, MergedTensor, whole
from evomerge.engine.export import export_model
from evomerge.engine.live_model import LiveModel
from evomerge.engine.merger import Merger
from evomerge.engine.modify import ModifiedTensor
from evomerge.errors import UserError
from evomerge.merging import METHODS
from evomerge.types import Expert, Recipe
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.checkpoint import Checkpoint, Stored
from evomerge.weights.task_vector import open_task_vector

FULL = [name for name in METHODS if METHODS[name].space == "full"]
NAMES = ("sql", "code", "json")
SHAPE = (300, 1000)  # three blocks


def stored(path: Path, tensor: torch.Tensor) -> Stored:
    save_file({"w": tensor}, path)
    return Stored(Checkpoint(path), "w")


def merged(folder: Path, method: str, base: torch.Tensor, experts: list[torch.Tensor]) -> MergedTensor:
    """Of models in files, by a method at half its density."""
    entry, count = METHODS[method], len(experts)
    return MergedTensor(
        name="w",
        shape=tuple(base.shape),
        base=stored(folder / "base.safetensors", base),
        experts=tuple(stored(folder / f"{n}.safetensors", e) for n, e in zip(NAMES, experts, strict=False)),
        expert_names=NAMES[:count],
        method=entry,
        weights=(0.5, 0.3, 0.2)[:count],
        parameters={
            name: (0.5 if name == "density" else default,) * count
            for name, (_, default) in entry.expert_parameters.items()
        },
        seed=0,
        dtype=torch.bfloat16,
    )


def models(method: str) -> tuple[torch.Tensor, list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    count = min(3, METHODS[method].max_experts or 3)
    return torch.randn(SHAPE, generator=generator), [torch.randn(SHAPE, generator=generator) for _ in range(count)]


@pytest.mark.parametrize("method", FULL)
def test_every_method_names_the_expert_that_is_not_finite(tmp_path, method):
    base, experts = models(method)
    for bad in (torch.nan, torch.inf):
        experts[-1][299, 7] = bad
        with pytest.raises(UserError, match=f"^expert '{NAMES[len(experts) - 1]}' holds NaN or infinity in 'w'"):
            whole(merged(tmp_path, method, base, experts))


@pytest.mark.parametrize("method", [name for name in FULL if METHODS[name].needs_base])
def test_every_method_that_reads_the_base_names_it(tmp_path, method):
    base, experts = models(method)
    base[0, 0] = -torch.inf
    with pytest.raises(UserError, match=r"base\.safetensors holds NaN or infinity in 'w'"):
        whole(merged(tmp_path, method, base, experts))


def test_values_beyond_the_range_of_the_result_are_the_merges_own(tmp_path):
    base = torch.full((4, 4), 6e4)
    tensor = replace(merged(tmp_path, "task_arithmetic", base, [base + 2e4]), dtype=torch.float16)
    message = "the merge gives NaN or infinity in 'w', for its values leave the range of float16: use smaller weights"
    with pytest.raises(UserError, match=message):
        whole(tensor)
    with pytest.raises(UserError, match=message):
        whole(ModifiedTensor(replace(tensor, dtype=torch.float32), 1.0, {"alpha": 1.0}, torch.float16))
    assert whole(replace(tensor, weights=(0.1,))).isfinite().all()


def test_large_but_finite_values_pass(tmp_path):
    """Their sum is infinite."""
    base = torch.full((300, 300), 3e38)
    assert torch.equal(whole(replace(merged(tmp_path, "linear", base, [base]), dtype=torch.float32)), base)


def test_copies_refuse_nan_and_overflow_and_keep_a_mask(tmp_path):
    rows = stored(tmp_path / "copied.safetensors", torch.tensor([1.0, torch.nan]))
    with pytest.raises(UserError, match=r"copied\.safetensors holds NaN or infinity in 'w'"):
        whole(CopiedTensor("w", rows, torch.float32))
    with pytest.raises(UserError, match="leave the range of float16"):
        whole(CopiedTensor("w", stored(tmp_path / "large.safetensors", torch.tensor([1e6])), torch.float16))
    mask = torch.tensor([0.0, -torch.inf])
    assert torch.equal(whole(CopiedTensor("w", stored(tmp_path / "mask.safetensors", mask), torch.float32)), mask)


def spoilt(model: Path, folder: Path, name: str) -> Path:
    """A copy of a model folder with a NaN in one parameter."""
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    tensors = load_file(model / "model.safetensors")
    tensors[name].view(-1)[3] = torch.nan
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_a_merge_of_a_damaged_expert_writes_nothing(tmp_path, pico_model):
    name = "model.layers.1.mlp.up_proj.weight"
    base, expert = pico_model(), spoilt(pico_model(5), tmp_path / "expert", name)
    checkpoint = Checkpoint(base)
    merger = Merger(checkpoint, {"sql": open_task_vector(checkpoint, str(expert))})
    for method in ("ties", "linear"):
        recipe = Recipe(str(base), (Expert("sql", str(expert)),), method, ((0.5,),))
        with pytest.raises(UserError, match=re.escape(f"expert 'sql' ({expert}) holds NaN or infinity in '{name}'")):
            export_model(merger, recipe, tmp_path / "out")
        live = LiveModel(base)
        before = checksum(live)
        with pytest.raises(UserError, match="expert 'sql'"):
            live.apply(merger, recipe)
        assert checksum(live) == before
    assert not (tmp_path / "out").exists()


def test_a_damaged_base_under_adapters_and_a_damaged_adapter(tmp_path, pico_model, pico_adapter, make_merger, adapters):
    name = "model.layers.1.mlp.up_proj.weight"
    base = spoilt(pico_model(), tmp_path / "base", name)
    recipe = Recipe(str(base), (Expert("sql", str(adapters["sql"])),), "task_arithmetic", ((0.5,),))
    with pytest.raises(UserError, match=rf"{re.escape(str(base))} holds NaN or infinity in '{name}'"):
        list(make_merger(base).tensors(recipe))
    with pytest.raises(UserError, match="leave the range of float16: use smaller weights or dtype bfloat16"):
        list(make_merger().tensors(replace(recipe, weights=((1e7,),), dtype="float16")))
    tensors = load_file(adapters["sql"] / "adapter_model.safetensors")
    key = next(key for key in tensors if "down_proj.lora_B" in key)
    tensors[key][0, 0] = torch.inf
    broken = tmp_path / "adapter"
    broken.mkdir()
    (broken / "adapter_config.json").write_bytes((adapters["sql"] / "adapter_config.json").read_bytes())
    save_file(tensors, broken / "adapter_model.safetensors")
    with pytest.raises(UserError, match=rf"adapter {re.escape(str(broken))} holds NaN or infinity in '{key}'"):
        Adapter(broken)
