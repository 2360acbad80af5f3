"""PEFT LoRA folders, written one module at a time; they appear complete or not at all."""

from __future__ import annotations

import contextlib
import json
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from evomerge.files.atomic_output import appearing_folder
from evomerge.weights.adapters.adapter import LowRank

_PREFIX = "base_model.model."
_ENTRY = 150  # bytes that a tensor's entry in the header takes at most, besides the module's name
_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}


class AdapterWriter:
    """Takes the modules of an adapter as they are made; memory holds one of them. Opened by :func:`new_adapter`."""

    def __init__(self, work: Path, base_name: str, modules: Collection[str], dtype: torch.dtype) -> None:
        self.parameters = 0
        self._work, self._base_name, self._dtype = work, base_name, dtype
        self._ranks: dict[str, int] = {}
        self._whole: list[str] = []
        self._biased = self._transposed = False
        # The header stands first in the file: space for what may come is kept, and filled with blanks at the end.
        self._reserved = -(-sum(2 * (len(module) + _ENTRY) for module in modules) // 8) * 8
        self._entries: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        self._end = 0
        self._file = (work / "adapter_model.safetensors").open("wb")
        self._file.seek(8 + self._reserved)

    @property
    def ranks(self) -> Mapping[str, int]:
        """Rank of every module that has factors."""
        return self._ranks

    def linear(self, module: str, factor: LowRank, bias: torch.Tensor | None = None, transposed: bool = False) -> None:
        """Factors of a linear layer with scale 1.

        Args:
            module: PEFT's path (``model.layers.0.self_attn.q_proj``).
            factor: of the layer's delta as (out, in).
            bias: delta of its bias; all modules have one or none has.
            transposed: the layer stores its weight as (in, out).
        """
        self._ranks[module] = factor.rank
        self._transposed |= transposed
        self._append(f"{_PREFIX}{module}.lora_A.weight", factor.right)
        self._append(f"{_PREFIX}{module}.lora_B.weight", factor.left)
        if bias is not None:
            self._biased = True
            self._append(f"{_PREFIX}{module}.lora_B.bias", bias)

    def embedding(self, module: str, factor: LowRank) -> None:
        """Factors of an embedding's delta as (vocabulary, width)."""
        self._ranks[module] = factor.rank
        self._append(f"{_PREFIX}{module}.lora_embedding_A", factor.left.mT)
        self._append(f"{_PREFIX}{module}.lora_embedding_B", factor.right.mT)

    def whole(self, module: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """A module's own parameters (``{"weight": ...}``), which replace the base's."""
        self._whole.append(module)
        for name, tensor in tensors.items():
            self._append(f"{_PREFIX}{module}.{name}", tensor)

    def text(self, name: str, content: str) -> None:
        """A further file of the folder."""
        (self._work / name).write_text(content, encoding="utf-8")

    def close(self, targets: Iterable[str] | None) -> None:
        """Write header and configuration. ``targets``: PEFT's target_modules; default: the full module paths."""
        header = json.dumps(self._entries, separators=(",", ":")).encode()
        assert len(header) <= self._reserved, "more modules came than were announced"
        self._file.seek(0)
        self._file.write(struct.pack("<Q", self._reserved) + header.ljust(self._reserved))
        self._file.close()
        self.text("adapter_config.json", json.dumps(self._config(targets), indent=2, sort_keys=True))

    def abandon(self) -> None:
        self._file.close()

    def _append(self, key: str, tensor: torch.Tensor) -> None:
        # one dtype throughout: every tensor then starts at a multiple of its item size
        data = tensor.detach().to("cpu", self._dtype).contiguous()
        self._file.write(data.reshape(-1).view(torch.uint8).numpy().data)
        span = [self._end, self._end + data.nbytes]
        self._entries[key] = {"dtype": _NAMES[self._dtype], "shape": list(data.shape), "data_offsets": span}
        self._end = span[1]
        self.parameters += data.numel()

    def _config(self, targets: Iterable[str] | None) -> dict[str, Any]:
        ranks = list(self._ranks.values())
        common = max(set(ranks), key=ranks.count, default=8)
        # PEFT reads the keys of a pattern as regular expressions
        others = {f"^{re.escape(module)}": rank for module, rank in self._ranks.items() if rank != common}
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": self._base_name,
            "r": common,
            "lora_alpha": common,
            "rank_pattern": others,
            "alpha_pattern": others,
            "target_modules": sorted(targets) if targets is not None else sorted(self._ranks),
            "lora_dropout": 0.0,
            "bias": "none",
            "lora_bias": self._biased,
            "fan_in_fan_out": self._transposed,
            "init_lora_weights": True,
            "use_rslora": False,
            "use_dora": False,
            "modules_to_save": sorted(self._whole) or None,
            "inference_mode": True,
        }


@contextlib.contextmanager
def new_adapter(
    folder: Path,
    base_name: str,
    modules: Collection[str],
    in_base: Iterable[str] = (),
    dtype: torch.dtype = torch.bfloat16,
) -> Iterator[AdapterWriter]:
    """An adapter folder in the making; it takes the name ``folder`` at the end, an error leaves nothing.

    Args:
        folder: replaced when it exists.
        base_name: entered as the adapter's base.
        modules: paths of the modules that may come.
        in_base: paths of all the base's modules. Short target names (``q_proj``) are what serving engines want; they
            are used where every module of these names came.
        dtype: of everything stored.
    """
    with appearing_folder(folder) as work:
        writer = AdapterWriter(work, base_name, modules, dtype)
        try:
            yield writer
            leaves = [_leaf(module) for module in writer.ranks]
            known = [_leaf(module) for module in in_base]
            complete = leaves and all(leaves.count(leaf) == known.count(leaf) for leaf in set(leaves))
            writer.close(set(leaves) if complete else None)
        finally:
            writer.abandon()


def write_adapter(
    folder: Path,
    factors: Mapping[str, LowRank],
    base_name: str,
    in_base: Iterable[str] = (),
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write the factors of linear layers, by module path, as a PEFT folder; see :func:`new_adapter`."""
    with new_adapter(folder, base_name, factors.keys(), in_base, dtype) as writer:
        for module, factor in factors.items():
            writer.linear(module, factor)


def _leaf(module: str) -> str:
    return module.rpartition(".")[2]
