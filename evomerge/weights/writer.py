"""Model folders that plain transformers loads; they appear complete or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.stream_writer import MAX_SHARD_BYTES, StreamWriter, TensorLayout, companions


def write_model(
    folder: Path,
    tensors: Iterable[tuple[str, torch.Tensor]],
    copy_from: Path,
    dtype: str,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write a model folder like ``copy_from`` with other values, one tensor in memory at a time.

    Args:
        folder: replaced when it exists.
        tensors: all of its parameters, in any order; those of floating point already in ``dtype``.
        copy_from: model folder whose names, shapes, configuration and tokenizer files are taken over.
        dtype: torch dtype name, entered in config.json.
        max_shard_bytes: a shard is closed before it would grow beyond this.
    """
    like = Checkpoint(copy_from)
    floating: torch.dtype = getattr(torch, dtype)
    layout = [
        TensorLayout(name, floating if like.dtype(name).is_floating_point else like.dtype(name), like.shape(name))
        for name in like.names
    ]
    config, files = with_dtype(like.config, dtype), companions(copy_from)
    with StreamWriter(folder, layout, max_shard_bytes=max_shard_bytes, config=config, files=files) as writer:
        for name, tensor in tensors:
            writer.write(name, tensor)


def with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """A model's config.json that names ``dtype`` as that of its weights."""
    # transformers 4 wrote torch_dtype and still reads nothing else; 5 reads both
    return {**config, "torch_dtype" if "torch_dtype" in config else "dtype": dtype}
