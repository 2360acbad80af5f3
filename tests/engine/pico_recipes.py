"""Recipes for the tests of the engine."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from evomerge.engine.live_model import LiveModel

NAMES = ("sql", "json", "code")
WEIGHTS = ((0.6, 0.3, 0.5), (0.2, 0.9, 0.4))
DENSITY = {"density": (0.3, 0.6, 1.0)}
# one recipe of every method there is for three LoRA experts
RECIPES: dict[str, dict[str, Any]] = {
    "linear": {},
    "task_arithmetic": {},
    "ties": {"expert_parameters": DENSITY},
    "dare_linear": {"expert_parameters": DENSITY},
    "dare_ties": {"expert_parameters": DENSITY},
    "core_task_arithmetic": {},
    "core_tsv": {"parameters": {"scale": 0.8}},
}
FACTORED = ("linear", "task_arithmetic", "core_task_arithmetic", "core_tsv")


def checksum(live: LiveModel) -> str:
    """sha256 over all parameters and buffers of the live model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(live.model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().cpu().view(torch.uint8).numpy().data)
    return digest.hexdigest()
