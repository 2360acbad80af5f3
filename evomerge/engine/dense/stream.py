"""Compute merged parameters on several threads and pass them on block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import prod
from threading import Event

import torch

from evomerge.engine.dense.merge_tensor import OutputTensor
from evomerge.engine.threads import pool_of

Write = Callable[[OutputTensor, int, torch.Tensor], None]
"""Takes a block: its parameter, its first row and its values. Called from several threads."""


def stream(
    tensors: Iterable[OutputTensor],
    write: Write,
    *,
    device: torch.device | None = None,
    threads: int | None = None,
    finished: Callable[[OutputTensor], None] = lambda tensor: None,
) -> None:
    """Compute all tensors and write each block as soon as it is computed.

    Args:
        tensors: tensors in any order; large ones are begun first.
        write: function that writes a block; it must not keep the block.
        device: device of the maths.
        threads: number of parameters merged at once; default: torch's number of threads. Each computes on one thread: a
            block is too small for several threads, and one parameter per thread scales better.
        finished: function called after a tensor's last block.

    Raises:
        The first error of any thread; the others stop after their block.
    """
    device = device or torch.device("cpu")
    ordered = sorted(tensors, key=lambda tensor: -prod(tensor.shape))
    threads = min(threads or torch.get_num_threads(), len(ordered))
    stop = Event()

    def merge(tensor: OutputTensor) -> None:
        for start, block in tensor.blocks(device):
            if stop.is_set():
                return
            write(tensor, start, block)
        finished(tensor)

    if threads <= 1 or device.type != "cpu":
        for tensor in ordered:
            merge(tensor)
        return
    with pool_of(threads) as pool:
        futures = [pool.submit(merge, tensor) for tensor in ordered]
        try:
            for future in futures:
                future.result()
        except BaseException:
            stop.set()
            raise
