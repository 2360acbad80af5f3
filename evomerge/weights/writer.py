"""Model and adapter folders that plain transformers and peft load; they appear complete or not at all."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from evomerge.weights.adapter import LowRank

MAX_SHARD_BYTES = 4 << 30
# What a model folder holds besides weights: configuration, tokenizer, chat template.
_COMPANIONS = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")


def write_model(
    folder: Path,
    tensors: Iterable[tuple[str, torch.Tensor]],
    copy_from: Path,
    dtype: str,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write a model folder, one shard of tensors in memory at a time.

    Args:
        folder: replaced when it exists.
        tensors: parameter names and values, already in ``dtype``.
        copy_from: model folder whose configuration and tokenizer files are taken over.
        dtype: torch dtype name, entered in config.json.
        max_shard_bytes: a shard is closed before it would grow beyond this.
    """
    with _appearing(folder) as work:
        for pattern in _COMPANIONS:
            for file in sorted(copy_from.glob(pattern)):
                if not file.name.endswith(".index.json"):
                    shutil.copyfile(file, work / file.name)
        config = json.loads((copy_from / "config.json").read_text())
        # transformers 4 wrote torch_dtype and still reads nothing else; 5 reads both
        config["torch_dtype" if "torch_dtype" in config else "dtype"] = dtype
        _write_json(work / "config.json", config)
        _write_shards(work, tensors, max_shard_bytes)


def write_adapter(
    folder: Path,
    factors: Mapping[str, LowRank],
    base_name: str,
    targets: Iterable[str] | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Write a PEFT LoRA folder with scale 1 (alpha = r).

    Args:
        folder: replaced when it exists.
        factors: module path (``model.layers.0.self_attn.q_proj``) -> factors.
        base_name: entered as the adapter's base.
        targets: PEFT's target_modules; default: the full module paths, which adapt exactly these modules.
        dtype: of the stored factors.
    """
    ranks = {module: factor.rank for module, factor in factors.items()}
    common = max(set(ranks.values()), key=list(ranks.values()).count)
    # PEFT reads the keys of a pattern as regular expressions
    others = {f"^{re.escape(module)}": rank for module, rank in ranks.items() if rank != common}
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": common,
        "lora_alpha": common,
        "rank_pattern": others,
        "alpha_pattern": others,
        "target_modules": sorted(targets) if targets is not None else sorted(factors),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "modules_to_save": None,
        "inference_mode": True,
    }
    tensors = {}
    for module, factor in factors.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = factor.right.to(dtype).contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = factor.left.to(dtype).contiguous()
    with _appearing(folder) as work:
        _write_json(work / "adapter_config.json", config)
        _save(tensors, work / "adapter_model.safetensors")


@contextlib.contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A work folder beside ``folder`` that takes its name at the end; an error leaves nothing and replaces nothing."""
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    mark = uuid.uuid4().hex[:8]
    work, old = (folder.parent / f".{folder.name}.{mark}.{kind}" for kind in ("partial", "old"))
    work.mkdir()
    try:
        yield work
        if folder.exists():
            folder.rename(old)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _write_shards(folder: Path, tensors: Iterable[tuple[str, torch.Tensor]], max_shard_bytes: int) -> None:
    shards: list[list[str]] = []
    shard: dict[str, torch.Tensor] = {}
    size = total = 0

    def close() -> None:
        nonlocal shard, size
        _save(shard, folder / f"shard-{len(shards)}")
        shards.append(list(shard))
        shard, size = {}, 0

    for name, tensor in tensors:
        if shard and size + tensor.nbytes > max_shard_bytes:
            close()
        shard[name] = tensor.contiguous()
        size += tensor.nbytes
        total += tensor.nbytes
    close()
    if len(shards) == 1:
        (folder / "shard-0").rename(folder / "model.safetensors")
        return
    weight_map: dict[str, str] = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        (folder / f"shard-{number}").rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    _write_json(folder / "model.safetensors.index.json", index)


def _save(tensors: dict[str, torch.Tensor], path: Path) -> None:
    save_file(tensors, path, metadata={"format": "pt"})
    # safetensors creates files that only their owner reads, whatever the umask
    shutil.copymode(next(path.parent.glob("*config.json")), path)


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
