"""Write model folders for tests with the stream writer, as merges do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch

from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.stream_writer import MAX_SHARD_BYTES, StreamWriter, TensorLayout, companions, with_dtype


def write_like(
    like: Checkpoint,
    folder: Path,
    tensors: Iterable[tuple[str, torch.Tensor]],
    dtype: str = "bfloat16",
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """A folder with the names, shapes, configuration and tokenizer of ``like`` and other values, all in ``dtype``."""
    layout = [TensorLayout(name, getattr(torch, dtype), like.shape(name)) for name in like.names]
    config, files = with_dtype(like.config, dtype), companions(like.folder)
    with StreamWriter(folder, layout, max_shard_bytes=max_shard_bytes, config=config, files=files) as writer:
        for name, tensor in tensors:
            writer.write(name, tensor)
