"""A model folder as a lazy mapping from parameter name to tensor."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from evomerge.errors import UserError

TIED_HEAD = "lm_head.weight"


class Checkpoint(Mapping[str, torch.Tensor]):
    """The parameters of a model folder, memory-mapped from its safetensors files, sharded or not.

    Tensors are views into the files: reading one costs page-cache reads only, and they must not be written to.
    A tied output head stored beside the embeddings it equals is left out, as transformers does.

    Raises:
        UserError: the folder is no model folder with safetensors.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._handles: dict[str, Any] = {}
        self._file_of = self._index()

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._handle(self._file_of[name]).get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._file_of)

    def __len__(self) -> int:
        return len(self._file_of)

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names, in alphabetical order."""
        return tuple(self._file_of)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter, read from the file's header."""
        return tuple(self._handle(self._file_of[name]).get_slice(name).get_shape())

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's config.json."""
        config: dict[str, Any] = json.loads((self.folder / "config.json").read_text())
        return config

    def _index(self) -> dict[str, str]:
        if not (self.folder / "config.json").is_file():
            raise UserError(f"{self.folder} is no model folder: it has no config.json")
        index = self.folder / "model.safetensors.index.json"
        if index.is_file():
            file_of: dict[str, str] = json.loads(index.read_text())["weight_map"]
            missing = sorted({file for file in file_of.values() if not (self.folder / file).is_file()})
            if missing:
                raise UserError(f"{self.folder} is incomplete, {missing[0]} is missing: download the model again")
        elif (self.folder / "model.safetensors").is_file():
            file_of = dict.fromkeys(self._handle("model.safetensors").keys(), "model.safetensors")
        else:
            raise UserError(
                f"{self.folder} has no model.safetensors: convert it once with transformers "
                "(AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder))"
            )
        if self.config.get("tie_word_embeddings"):
            file_of.pop(TIED_HEAD, None)
        return dict(sorted(file_of.items()))

    def _handle(self, file: str) -> Any:
        if file not in self._handles:
            try:
                self._handles[file] = safe_open(self.folder / file, framework="pt")
            except (SafetensorError, OSError) as error:
                raise UserError(f"cannot read {self.folder / file} ({error}): download the model again") from error
        return self._handles[file]


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
