"""Read a model folder, or one file of weights, as a lazy mapping from parameter name to tensor."""

from __future__ import annotations

import math
import threading
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from evomerge.errors import UserError
from evomerge.files.json_files import AGAIN, read_json
from evomerge.tensors.lazy import LazyMatrix
from evomerge.weights.parameter_names import HEAD
from evomerge.weights.tensor_files import TensorFile, open_tensor_file

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLES = ("model.safetensors", "pytorch_model.bin")


class Checkpoint(Mapping[str, torch.Tensor]):
    """The parameters of a model, memory-mapped from its files.

    Takes a model folder with safetensors or pickled weights, sharded or not, or a single raw state dict
    (.safetensors, .pt, .pth, .bin) that needs no config.json. Tensors are views into the files in their own dtype:
    reading one costs page-cache reads only, and they must not be written to. Several threads may read at once.
    A tied output head stored beside the embeddings it equals is left out, as transformers does.

    Attributes:
        path: the folder or file.
        raw: whether it is a single file of weights.
        folder: the model folder; of a raw file, the folder it lies in.

    Raises:
        UserError: ``path`` is neither a model folder nor a file of weights, or it is incomplete, damaged or unsafe to
            read.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.raw = self.path.is_file()
        self.folder = self.path.parent if self.raw else self.path
        self._files: dict[str, TensorFile] = {}
        self._opening = threading.Lock()
        self._file_of = dict(sorted(self._index().items()))
        if not self._file_of:
            raise UserError(f"{path} holds no parameters: {AGAIN}")

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._file(name).tensor(name)

    def __contains__(self, name: object) -> bool:
        return name in self._file_of

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names, in alphabetical order."""
        return tuple(self._file_of)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the parameters are read from."""
        return tuple(sorted({self.folder / file for file in self._file_of.values()}))

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all parameters as stored."""
        return sum(math.prod(self.shape(name)) * self.dtype(name).itemsize for name in self._file_of)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter; costs no read of its data."""
        return self._file(name).shape(name)

    def dtype(self, name: str) -> torch.dtype:
        """Stored dtype of a parameter; costs no read of its data."""
        return self._file(name).dtype(name)

    def rows(self, name: str, start: int, stop: int) -> torch.Tensor:
        """View of entries ``start`` to ``stop`` of dimension 0; a parameter without dimensions is given whole."""
        tensor = self[name]
        return tensor[start:stop] if tensor.ndim else tensor

    def release(self, name: str) -> None:
        """Drop a parameter's mapped pages from this process's resident memory.

        Safe also while views are in use: their pages are read from the page cache again when touched.
        """
        self._file(name).release(name)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's config.json; empty for a raw file."""
        if self.raw:
            return {}
        path = self.folder / "config.json"
        try:
            return read_json(path)
        except FileNotFoundError as error:
            is_adapter = (self.folder / "adapter_config.json").is_file()
            cure = "it is an adapter, name the model it was trained on" if is_adapter else "name the folder that does"
            raise UserError(f"{self.folder} is no model folder: it has no config.json; {cure}") from error

    def _index(self) -> dict[str, str]:
        if self.raw:
            return dict.fromkeys(self._open(self.path.name).names, self.path.name)
        tied = self.config.get("tie_word_embeddings")  # read first: without a config.json this is no model folder
        file_of = self._files_of_folder()
        if tied:
            file_of.pop(HEAD, None)
        return file_of

    def _files_of_folder(self) -> dict[str, str]:
        for index, single in zip(_INDEXES, _SINGLES, strict=True):
            if (self.folder / index).is_file():
                return self._read_index(self.folder / index)
            if (self.folder / single).is_file():
                return dict.fromkeys(self._open(single).names, single)
        shards = sorted(path.name for path in self.folder.glob("*-of-*.safetensors"))
        if shards:
            raise UserError(f"{self.folder} is incomplete, {shards[0]} is there without {_INDEXES[0]}: {AGAIN}")
        raise UserError(
            f"{self.folder} has no model.safetensors and no pytorch_model.bin: convert it once with transformers "
            f"(AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)), or {AGAIN}"
        )

    def _read_index(self, path: Path) -> dict[str, str]:
        file_of = read_json(path).get("weight_map")
        if not isinstance(file_of, dict) or not file_of:
            raise UserError(f"cannot read {path} (it has no weight_map): {AGAIN}")
        for file in sorted(set(map(str, file_of.values()))):
            if Path(file).is_absolute() or ".." in Path(file).parts:
                raise UserError(f"{path} names '{file}', wanted a file of its own folder: {AGAIN}")
            if not (self.folder / file).is_file():
                raise UserError(f"{self.folder} is incomplete, {file} is missing: {AGAIN}")
        return {name: str(file) for name, file in file_of.items()}

    def _file(self, name: str) -> TensorFile:
        file = self._file_of[name]
        opened = self._files.get(file) or self._open(file)
        if name not in opened:
            raise UserError(f"{self.folder / file} lacks '{name}', which its index promises: {AGAIN}")
        return opened

    def _open(self, file: str) -> TensorFile:
        with self._opening:  # two threads that need the same shard map it once
            if file not in self._files:
                self._files[file] = open_tensor_file(self.folder / file)
            return self._files[file]


@dataclass(frozen=True, eq=False)
class Stored(LazyMatrix):
    """A parameter as it lies in a checkpoint. Two are equal when they are one parameter of one model."""

    checkpoint: Checkpoint
    name: str

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stored) or self.name != other.name:
            return False
        return self.checkpoint is other.checkpoint or self.checkpoint.path == other.checkpoint.path

    def __hash__(self) -> int:
        return hash((self.checkpoint.path, self.name))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.checkpoint.shape(self.name)

    @property
    def dtype(self) -> torch.dtype:
        return self.checkpoint.dtype(self.name)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        return self.checkpoint.rows(self.name, start, stop)

    def fill(self, out: torch.Tensor, start: int, stop: int) -> None:
        out.copy_(self.rows(start, stop))

    def entries(self, positions: torch.Tensor) -> torch.Tensor:
        return self.checkpoint[self.name].reshape(-1)[positions]

    @property
    def origin(self) -> str:
        return str(self.checkpoint.path)

    def release(self) -> None:
        self.checkpoint.release(self.name)


def find_name(name: str, known: Container[str]) -> str | None:
    """A parameter's name among ``known``, with or without the outer model's prefix; None when it is absent.

    >>> find_name("model.layers.0.mlp.weight", {"model.layers.0.mlp.weight"})
    'model.layers.0.mlp.weight'
    >>> find_name("transformer.h.0.mlp.weight", {"h.0.mlp.weight"})
    'h.0.mlp.weight'
    >>> find_name("layers.0.mlp.weight", {"model.layers.0.mlp.weight"})
    'model.layers.0.mlp.weight'
    """
    candidates = (name, name.partition(".")[2], f"model.{name}", f"transformer.{name}")
    return next((candidate for candidate in candidates if candidate in known), None)
