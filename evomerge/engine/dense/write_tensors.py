"""Stream merged parameters into a model folder or a raw file of weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from evomerge.engine.dense.merge_tensor import OutputTensor, release
from evomerge.engine.dense.stream import stream
from evomerge.errors import UserError
from evomerge.weights.stream_writer import MAX_SHARD_BYTES, StreamWriter, TensorLayout

Progress = Callable[[int, int], None]
"""Takes the bytes written so far and the bytes of the whole output."""


def write_tensors(
    tensors: Sequence[OutputTensor],
    target: Path,
    *,
    config: Mapping[str, Any] | None = None,
    files: Iterable[Path] = (),
    complete: Callable[[Path], None] = lambda folder: None,
    progress: Progress = lambda written, total: None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    threads: int | None = None,
) -> None:
    """Compute and write all tensors; the output appears whole or not at all.

    Args:
        tensors: tensors in the order of the shards.
        target: a folder, or a path ending in ``.safetensors`` for a raw file without configuration.
        config: content of ``config.json``.
        files: files copied into the folder.
        complete: function that adds further files; called with the work folder before the output appears.
        progress: function called after each block.
        max_shard_bytes: largest size of a shard in bytes.
        threads: number of parameters merged at once, as in :func:`evomerge.engine.dense.stream.stream`.

    Raises:
        UserError: ``target`` is a folder for raw weights, or a file for a model.
    """
    raw = target.suffix == ".safetensors"
    if raw != (config is None):
        wanted = "a folder: out=DIR" if raw else "a file: out=NAME.safetensors"
        raise UserError(f"{'a model folder is' if raw else 'raw weights are'} written to {wanted}, got out={target}")
    layout = [TensorLayout(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors]
    with StreamWriter(target, layout, max_shard_bytes=max_shard_bytes, config=config, files=files) as writer:

        def write(tensor: OutputTensor, start: int, block: torch.Tensor) -> None:
            writer.write(tensor.name, block, start)
            progress(writer.written_bytes, writer.total_bytes)

        stream(tensors, write, threads=threads, finished=release)
        if config is not None:
            complete(writer.folder)
