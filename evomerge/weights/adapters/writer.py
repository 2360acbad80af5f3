"""Write a PEFT LoRA folder: it takes modules one at a time and appears complete or not at all."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from evomerge.files.atomic_output import appearing_folder
from evomerge.tensors.lazy import LowRank
from evomerge.weights.stream_writer import write_safetensors

_PREFIX = "base_model.model."


class AdapterWriter:
    """Holds the modules of an adapter, in its dtype, until :meth:`close` writes them. :func:`new_adapter` opens one."""

    def __init__(self, work: Path, target: Path, base_name: str, dtype: torch.dtype) -> None:
        self._work, self._target, self._base_name, self._dtype = work, target, base_name, dtype
        self._ranks: dict[str, int] = {}
        self._whole: list[str] = []
        self._biased = self._transposed = False
        self._tensors: dict[str, torch.Tensor] = {}

    @property
    def parameters(self) -> int:
        """Number of values stored so far."""
        return sum(tensor.numel() for tensor in self._tensors.values())

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
        """Write another file of the folder."""
        (self._work / name).write_text(content, encoding="utf-8")

    def close(self, targets: Iterable[str] | None) -> None:
        """Write weights and configuration. ``targets``: PEFT's target_modules; default: the full module paths."""
        write_safetensors(self._work / "adapter_model.safetensors", self._tensors, self._target)
        self.text("adapter_config.json", json.dumps(self._config(targets), indent=2, sort_keys=True))

    def _append(self, key: str, tensor: torch.Tensor) -> None:
        # a copy: a view of a larger matrix would keep all of it in memory
        self._tensors[key] = tensor.detach().to("cpu", self._dtype, copy=True).contiguous()

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
    in_base: Iterable[str] = (),
    dtype: torch.dtype = torch.bfloat16,
) -> Iterator[AdapterWriter]:
    """Open an adapter folder for writing; it takes the name ``folder`` at the end, and an error leaves nothing.

    Args:
        folder: the output; replaced if it exists.
        base_name: name of the base in the adapter's configuration.
        in_base: paths of all the base's modules. Target names are short (``q_proj``), as serving engines want them, if
            every module of these names was written.
        dtype: dtype of all tensors.
    """
    with appearing_folder(folder) as work:
        writer = AdapterWriter(work, folder, base_name, dtype)
        yield writer
        leaves = Counter(_leaf(module) for module in writer.ranks)
        in_base_leaves = Counter(_leaf(module) for module in in_base)
        complete = leaves and all(in_base_leaves[leaf] == count for leaf, count in leaves.items())
        writer.close(set(leaves) if complete else None)


def write_adapter(
    folder: Path,
    factors: Mapping[str, LowRank],
    base_name: str,
    in_base: Iterable[str] = (),
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write the factors of linear layers, by module path, as a PEFT folder; see :func:`new_adapter`."""
    with new_adapter(folder, base_name, in_base, dtype) as writer:
        for module, factor in factors.items():
            writer.linear(module, factor)


def _leaf(module: str) -> str:
    return module.rpartition(".")[2]
