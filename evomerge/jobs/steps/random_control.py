"""Write a control for the winner: an adapter of the same size whose directions are random."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from evomerge.tensors.lazy import LowRank
from evomerge.types import Artifact
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.adapters.writer import new_adapter

FOLDER = "control"


def write_random_control(lora: Artifact, folder: Path, seed: int = 0) -> Artifact:
    """Write an adapter whose updates have the shape, rank and Frobenius norm of those in ``lora``, but random factors.

    Scores that the control reaches as well do not come from what the experts learned: any change of that size gives
    them. What an adapter may hold beside factors (biases, whole modules) is left out.

    Args:
        lora: a base with the adapter that is imitated.
        folder: of the control; replaced if it exists.
        seed: of the factors; a module's factors depend on the seed and its name alone.
    """
    assert lora.adapter is not None
    adapter = Adapter(lora.adapter)
    base = str(adapter.config.get("base_model_name_or_path") or "")
    transposed = bool(adapter.config.get("fan_in_fan_out"))
    with new_adapter(folder, base, dtype=torch.float32) as writer:
        for module, factor in adapter.factors.items():
            writer.linear(module, _random_like(factor, module, seed), transposed=transposed)
        for module, factor in adapter.embeddings.items():
            writer.embedding(module, _random_like(factor, module, seed))
    return Artifact(lora.model, str(folder.resolve()))


def _random_like(factor: LowRank, module: str, seed: int) -> LowRank:
    drawn = int.from_bytes(hashlib.sha256(f"{seed} {module}".encode()).digest()[:8], "big", signed=True)
    generator = torch.Generator().manual_seed(drawn)
    left = torch.randn(factor.left.shape, generator=generator)
    right = torch.randn(factor.right.shape, generator=generator)
    size = _norm(left, right)
    return LowRank(left * (_norm(factor.left, factor.right) / size if size else 0.0), right)


def _norm(left: torch.Tensor, right: torch.Tensor) -> float:
    """Frobenius norm of left @ right, from the Gram matrices of the factors: no (m, n) matrix is formed."""
    left, right = left.double(), right.double()
    return float(((left.mT @ left) * (right @ right.mT)).sum().clamp_min(0.0).sqrt())
