"""Seeded sampling of tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from evomerge.evaluation.backend.base import GenerationRequest


def sample(logits: Tensor, request: GenerationRequest, step: int) -> int:
    """A token of softmax(logits / temperature), shape (vocabulary,), by the Gumbel-max trick.

    The noise depends on the request's seed and the step alone, not on the row's neighbours.
    """
    noise = torch.Generator().manual_seed((request.seed << 20) + step)
    uniform = torch.rand(logits.shape, generator=noise, dtype=torch.float64).clamp_(min=1e-300)
    return int((logits.double().cpu() / request.temperature - (-uniform.log()).log()).argmax())
