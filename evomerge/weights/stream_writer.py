"""Write safetensors files and model folders block by block: no shard is ever held in memory."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import re
import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from evomerge.errors import UserError
from evomerge.files.atomic_output import appearing_file, appearing_folder
from evomerge.files.small_files import FULL
from evomerge.weights.tensor_files import SAFETENSORS_DTYPES

MAX_SHARD_BYTES = 5 * 1000**3  # as the hub's libraries do
# Files of a model folder besides weights: configuration, tokenizer, chat template, the code that auto_map names ...
_COMPANIONS = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.py")
# ... and files among them that describe other weights than the output's.
_OF_WEIGHTS = re.compile(r".*\.index\.json|adapter_config\.json|trainer_state\.json|.*_results\.json")
_CONFIGURATION = ("config.json", "generation_config.json")
_PIECE = 1 << 30  # macOS takes less than 2 GiB at once
_NAME_OF = {dtype: name for name, dtype in SAFETENSORS_DTYPES.items()}


@dataclass(frozen=True)
class TensorLayout:
    """Name, dtype and shape of an output tensor."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def companions(folder: Path, tokenizer: bool = True) -> tuple[Path, ...]:
    """The files of a model folder beside its weights: configuration and, by default, tokenizer."""
    if not tokenizer:
        return tuple(folder / name for name in _CONFIGURATION if (folder / name).is_file())
    found = {file for pattern in _COMPANIONS for file in folder.glob(pattern)}
    return tuple(sorted(file for file in found if file.is_file() and not _OF_WEIGHTS.fullmatch(file.name)))


def with_dtype(config: Mapping[str, Any], dtype: str) -> dict[str, Any]:
    """A model's config.json with ``dtype`` as the dtype of its weights, and of the weights of its parts."""
    # transformers 4 wrote torch_dtype and still reads nothing else; 5 reads both
    stated = [key for key in ("dtype", "torch_dtype") if key in config]
    parts = {
        key: with_dtype(part, dtype)
        for key, part in config.items()
        if key.endswith("_config") and isinstance(part, dict) and ("dtype" in part or "torch_dtype" in part)
    }
    return {**config, **parts, **dict.fromkeys(stated or ["dtype"], dtype)}


def shard_bytes(size: str) -> int:
    """Bytes of a size as the hub's libraries spell it: ``5GB``, ``500MB``; ``GiB`` and ``MiB`` are powers of 1024.

    >>> shard_bytes("5GB"), shard_bytes("1.5 MiB")
    (5000000000, 1572864)

    Raises:
        UserError: no such size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT])(i?)B", size.strip(), re.IGNORECASE)
    found = (
        0
        if match is None
        else int(float(match[1]) * (1024 if match[3] else 1000) ** (1 + "KMGT".index(match[2].upper())))
    )
    if found < 1:
        raise UserError(f"max_shard must be a size such as 5GB or 500MB, got '{size}'")
    return found


class StreamWriter:
    """Writes a model folder, or one raw safetensors file, whose tensors come in blocks, in any order, from any thread.

    A context manager. The output appears, durably, when the ``with`` ends without an error; after an error nothing of
    it is left and an older output stays. Headers, index and configuration are written last, so that no killed run
    leaves a file that loads.

    Args:
        target: a folder; or a path that ends in ``.safetensors``, for one file without configuration. Replaced.
        layout: the tensors of the output. Shards are filled in this order.
        max_shard_bytes: a shard is closed before it would grow beyond this; one file for raw output.
        config: content of config.json, in place of one among ``files``.
        files: companion files to copy. A file of that name that the caller puts into :attr:`folder` goes first.

    Attributes:
        total_bytes: bytes of all tensors.
        written_bytes: bytes written so far.

    Raises:
        UserError: the disk is too small, or ``target`` must not be replaced.
    """

    def __init__(
        self,
        target: Path,
        layout: Sequence[TensorLayout],
        *,
        max_shard_bytes: int = MAX_SHARD_BYTES,
        config: Mapping[str, Any] | None = None,
        files: Iterable[Path] = (),
    ) -> None:
        self._target = Path(target)
        self._raw = self._target.suffix == ".safetensors"
        assert not (self._raw and (config is not None or tuple(files))), "raw output has no configuration"
        assert len({tensor.name for tensor in layout}) == len(layout), "a tensor is twice in the layout"
        self._config, self._files = config, tuple(files)
        runs = [list(layout)] if self._raw else _cut(layout, max_shard_bytes)
        names = ["model.safetensors"]
        if len(runs) > 1:
            names = [f"model-{number + 1:05}-of-{len(runs):05}.safetensors" for number in range(len(runs))]
        self._shards = [_Shard(name, run) for name, run in zip(names, runs, strict=True)]
        self._shard_of = {tensor.name: shard for shard in self._shards for tensor in shard.layout}
        self._layout = {tensor.name: tensor for tensor in layout}
        self._missing = {tensor.name: tensor.nbytes for tensor in layout}
        self._counting = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._work = Path()
        self.total_bytes = sum(self._missing.values())
        self.written_bytes = 0

    @property
    def folder(self) -> Path:
        """Work folder of a model output: put further files here before the ``with`` ends."""
        assert not self._raw, "raw output has no folder"
        return self._work

    def __enter__(self) -> Self:
        appearing = appearing_file if self._raw else appearing_folder
        with contextlib.ExitStack() as stack:
            self._work = stack.enter_context(appearing(self._target))
            for shard in self._shards:
                stack.callback(shard.close)
                shard.open(self._work if self._raw else self._work / shard.file, self._target)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._finish()

    def write(self, name: str, tensor: torch.Tensor, start: int = 0) -> None:
        """Write entries of parameter ``name`` from ``start`` on in dimension 0; each entry is written once.

        Args:
            name: of the layout.
            tensor: (k, *rest) in the layout's dtype, on any device; a whole parameter is one block from 0.
            start: position of the block's first entry in dimension 0.
        """
        layout, shard = self._layout[name], self._shard_of[name]
        assert tensor.dtype == layout.dtype, f"{name}: wanted {layout.dtype}, got {tensor.dtype}"
        length = layout.shape[0] if layout.shape else 1
        block = tensor.reshape(1) if not layout.shape else tensor
        assert block.shape[1:] == layout.shape[1:], f"{name}: wanted rows of {layout.shape}, got {tuple(block.shape)}"
        assert 0 <= start <= length - block.shape[0], f"{name}: rows from {start} do not fit {layout.shape}"
        if block.numel():
            data = _bytes(block)
            shard.put(name, data, start * (layout.nbytes // length))
            with self._counting:
                self._missing[name] -= len(data)
                self.written_bytes += len(data)

    def _finish(self) -> None:
        short = next((name for name, missing in self._missing.items() if missing), None)
        assert short is None, f"{short} was not written completely"
        for shard in self._shards:
            shard.put_header()
        if self._raw:
            return
        for file in self._files:
            if not (self._work / file.name).exists():
                shutil.copyfile(file, self._work / file.name)
        if len(self._shards) > 1:
            weight_map = {tensor.name: shard.file for shard in self._shards for tensor in shard.layout}
            index = {"metadata": {"total_size": self.total_bytes}, "weight_map": dict(sorted(weight_map.items()))}
            write_json(self._work / "model.safetensors.index.json", index)
        if self._config is not None:
            write_json(self._work / "config.json", self._config)


class _Shard:
    """One safetensors file. The layout gives its header, so every tensor's place is known from the start."""

    def __init__(self, file: str, layout: Sequence[TensorLayout]) -> None:
        # largest items first, as safetensors does: then every tensor is aligned
        self.layout = sorted(layout, key=lambda tensor: -tensor.dtype.itemsize)
        self.file = file
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        self._start: dict[str, int] = {}
        end = 0
        for tensor in self.layout:
            start, end = end, end + tensor.nbytes
            self._start[tensor.name] = start
            header[tensor.name] = {
                "dtype": _NAME_OF[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [start, end],
            }
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        self._header = len(text).to_bytes(8, "little") + text
        self._size = len(self._header) + end
        self._handle = -1

    def open(self, path: Path, target: Path) -> None:
        """Create the file at its full size, so that a full disk is an error now and not hours later."""
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        free = shutil.disk_usage(path.parent).free
        try:
            if self._size > free:  # checked first: reserving until the disk is full would starve other programs
                raise OSError(errno.ENOSPC, "too small")
            if hasattr(os, "posix_fallocate"):  # not on macOS
                os.posix_fallocate(self._handle, 0, self._size)
            else:
                os.ftruncate(self._handle, self._size)
        except OSError as error:
            if error.errno in FULL:
                raise UserError(
                    f"cannot write {target}: it takes {self._size / 1e9:.1f} GB more and the disk gives "
                    f"{free / 1e9:.1f} GB; free some or write elsewhere"
                ) from error
            os.ftruncate(self._handle, self._size)  # a file system that cannot reserve

    def put(self, name: str, data: memoryview, at: int) -> None:
        """Write ``data`` at byte ``at`` of a tensor."""
        offset = len(self._header) + self._start[name] + at
        while data:
            written = os.pwrite(self._handle, data[:_PIECE], offset)
            data, offset = data[written:], offset + written

    def put_header(self) -> None:
        os.pwrite(self._handle, self._header, 0)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor], target: Path) -> None:
    """Write one safetensors file at ``path``, whose tensors are in memory.

    Args:
        tensors: tensors by name, on any device.
        target: the output that a person asked for and ``path`` is a part of, named in errors.

    Raises:
        UserError: the disk is too small.
    """
    layout = [TensorLayout(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in tensors.items()]
    file = _Shard(path.name, layout)
    try:
        file.open(path, target)
        for name, tensor in tensors.items():
            file.put(name, _bytes(tensor), 0)
        file.put_header()
    finally:
        file.close()


def _bytes(tensor: torch.Tensor) -> memoryview:
    """The tensor's values as they lie in a file; uint8, since numpy knows neither bfloat16 nor fp8."""
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def _cut(layout: Sequence[TensorLayout], max_bytes: int) -> list[list[TensorLayout]]:
    """Consecutive runs of at most ``max_bytes``; a larger tensor is a run of its own."""
    runs: list[list[TensorLayout]] = [[]]
    size = 0
    for tensor in layout:
        if runs[-1] and size + tensor.nbytes > max_bytes:
            runs.append([])
            size = 0
        runs[-1].append(tensor)
        size += tensor.nbytes
    return runs


def write_json(path: Path, value: Any) -> None:
    """Write JSON; the same value gives the same bytes."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n", encoding="utf-8")
