"""The random control is as large as the adapter that it imitates, points elsewhere and loads in peft."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from evomerge.jobs.steps.random_control import write_random_control
from evomerge.types import Artifact
from evomerge.weights.adapters.adapter import Adapter


def deltas(adapter: Path) -> dict[str, torch.Tensor]:
    return {module: factor.left.double() @ factor.right.double() for module, factor in Adapter(adapter).factors.items()}


@pytest.fixture
def lora(pico_model, pico_adapter) -> Artifact:
    return Artifact(str(pico_model()), str(pico_adapter(seed=3)))


def test_it_has_the_size_of_the_adapter_and_other_directions(lora: Artifact, tmp_path: Path) -> None:
    control = write_random_control(lora, tmp_path / "control")
    assert control.model == lora.model and control.adapter is not None and lora.adapter is not None
    wanted, got = deltas(Path(lora.adapter)), deltas(Path(control.adapter))
    assert wanted.keys() == got.keys()
    for module, delta in wanted.items():
        assert got[module].shape == delta.shape
        torch.testing.assert_close(got[module].norm(), delta.norm(), rtol=1e-5, atol=0)
        assert torch.linalg.matrix_rank(got[module]) == torch.linalg.matrix_rank(delta)
    cosine = sum((wanted[m] * got[m]).sum() for m in wanted) / sum(d.square().sum() for d in wanted.values())
    assert abs(cosine) < 0.2


def test_it_is_the_same_each_time_and_another_for_another_seed(lora: Artifact, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("a", "b", "c")]
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        write_random_control(lora, folder, seed)
    first, again, other = ((folder / "adapter_model.safetensors").read_bytes() for folder in folders)
    assert first == again and first != other


def test_peft_loads_it(lora: Artifact, tmp_path: Path) -> None:
    control = write_random_control(lora, tmp_path / "control")
    base = AutoModelForCausalLM.from_pretrained(lora.model, dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    merged = PeftModel.from_pretrained(base, control.adapter).merge_and_unload().state_dict()
    for module, delta in deltas(Path(control.adapter or "")).items():
        change = merged[f"{module}.weight"].double() - before[f"{module}.weight"].double()
        torch.testing.assert_close(change, delta, rtol=1e-3, atol=1e-5)
