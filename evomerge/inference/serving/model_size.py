"""Measure what serving a model takes: parameters, disk and memory."""

from __future__ import annotations

import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import torch

from evomerge.errors import UserError
from evomerge.inference.serving.latency_settings import LatencySettings
from evomerge.inference.serving.served_model import ServedModel, Serving
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.tensor_files import open_tensor_file


@dataclass(frozen=True)
class Size:
    """Size of a model with its adapters.

    Attributes:
        parameters: numbers stored; a tied output head counts once.
        disk_bytes: of the files of weights.
    """

    parameters: int
    disk_bytes: int


def served_size(serving: Serving) -> Size:
    """The size, read from the files' headers."""
    model = Checkpoint(serving.model)
    parameters = sum(_elements(model.shape(name)) for name in model)
    files = list(model.files)
    for folder in serving.adapters:
        file = open_tensor_file(Adapter(folder).file)
        parameters += sum(_elements(file.shape(name)) for name in file.names)
        files.append(Adapter(folder).file)
    return Size(parameters, sum(file.stat().st_size for file in files))


def _elements(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


def peak_memory(
    serving: Serving, settings: LatencySettings, *, dtype: str = "bfloat16", device: str = "cpu"
) -> int | None:
    """Bytes at the peak of a process that loads ``serving`` and answers one batch of the largest size.

    On a GPU it is the peak of torch's allocator, else the resident memory of the whole process with its libraries. A
    fresh process is measured, since this one has held other models. None on a system that does not tell.

    Raises:
        UserError: what :class:`ServedModel` refuses, or the process died, as it does when memory runs out.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        try:
            return process.submit(_answer_once, serving, settings, dtype, device, torch.get_num_threads()).result()
        except BrokenProcessPool as error:
            raise UserError(
                f"{serving.name} ran out of memory at a batch of {max(settings.batch_sizes)}: "
                "give smaller latency.batch_sizes"
            ) from error


def _answer_once(serving: Serving, settings: LatencySettings, dtype: str, device: str, threads: int) -> int | None:
    torch.set_num_threads(threads)
    warnings.simplefilter("ignore", FutureWarning)  # of peft's about transformers, as in the parent's process
    model = ServedModel(serving, dtype, device)
    prompts = torch.zeros(max(settings.batch_sizes), settings.prompt_tokens, dtype=torch.long, device=device)
    model.answer(prompts, settings.new_tokens, serving.ways[0])
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    # VmHWM, not getrusage's ru_maxrss: that one is handed down from the parent's process on Linux.
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")), None)
