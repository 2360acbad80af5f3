"""Estimate the memory that a worker will take."""

from __future__ import annotations

import math
from typing import Any

import torch

from evomerge.evaluation.worker import WorkerSpec
from evomerge.inference.memory_limits import CACHE_BYTES, Limits
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.sources import resolve

_LIBRARIES = 600 * 1024**2  # bytes: torch, transformers, lm-eval and the tasks' data


def worker_memory(spec: WorkerSpec) -> int:
    """Bytes at the peak: libraries, the live model and a model folder beside it, keys and values of the rows.

    SmolLM2-135M in bfloat16, 270 MB, answering 300 items of three tasks: 2.1 GB measured, 2.7 GB expected. What is
    mapped from files is not counted, it gives way.
    """
    base = Checkpoint(resolve(spec.base))
    parameters = sum(math.prod(base.shape(name)) for name in base)
    width: int = getattr(torch, spec.dtype).itemsize
    cached = min(width * Limits.cache_tokens * _cached_per_token(base.config), CACHE_BYTES)
    return _LIBRARIES + 2 * width * parameters + cached


def _cached_per_token(config: dict[str, Any]) -> int:
    """Numbers of keys and values; 0 where the architecture does not say in the usual words."""
    own = config.get("text_config", config)
    heads = own.get("num_attention_heads") or 0
    size = own.get("head_dim") or (own.get("hidden_size", 0) // heads if heads else 0)
    return int(2 * own.get("num_hidden_layers", 0) * (own.get("num_key_value_heads") or heads) * size)
