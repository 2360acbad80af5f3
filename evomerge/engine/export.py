"""A recipe as a folder that others load: a merged model, or a LoRA on the base."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from evomerge.engine.merge import Merger
from evomerge.errors import UserError
from evomerge.types import Recipe
from evomerge.weights.adapter import LowRank
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import LowRankTaskVector, TaskVector
from evomerge.weights.writer import write_adapter, write_model

_OVERSAMPLING = 8
_POWER_ITERATIONS = 4


@dataclass(frozen=True)
class LoraExport:
    """What was written.

    Attributes:
        folder: the adapter.
        rank: its largest rank.
        relative_error: Frobenius norm of what the adapter lacks over that of the whole update; 0 when exact. The
            rounding of the factors to their dtype is not in it.
        left_out: changed parameters that a LoRA on linear layers cannot hold (norms, embeddings); part of the error.
    """

    folder: Path
    rank: int
    relative_error: float
    left_out: tuple[str, ...] = ()


def export_model(merger: Merger, recipe: Recipe, folder: Path) -> Path:
    """Write the merged model with the base's configuration and tokenizer; plain transformers loads it."""
    write_model(folder, merger.tensors(recipe, every=True), merger.base.folder, recipe.dtype)
    return folder


def export_lora(
    merger: Merger, recipe: Recipe, folder: Path, rank: int | None = None, dtype: torch.dtype = torch.bfloat16
) -> LoraExport:
    """Write the merge as a PEFT adapter on the base.

    Args:
        merger: holds the recipe's experts.
        recipe: of any method. Where the merge stays in the LoRAs' factors (task arithmetic, linear, core space) the
            adapter is exact at the sum of the experts' ranks; otherwise it is a truncated SVD of the merged delta.
        folder: replaced when it exists.
        rank: of the adapter; default: the sum of the experts' ranks.
        dtype: of the stored factors.

    Raises:
        UserError: no rank is given and no expert is an adapter that would suggest one.
    """
    modules: dict[str, str] = {}
    for vector in merger.experts.values():
        if isinstance(vector, LowRankTaskVector):
            modules |= vector.modules
    left_out: tuple[str, ...] = ()
    if merger.is_low_rank(recipe):
        factors, error = merger.core_space.to_lora(recipe, rank)
    else:
        rank = rank or _default_rank(merger, recipe)
        deltas = ((name, tensor - merger.base[name].float()) for name, tensor in merger.float_tensors(recipe))
        factors, error, left_out = _truncate(deltas, rank)
    _write(folder, factors, modules, merger.base, loadable(recipe.base, merger.base), dtype)
    return LoraExport(folder, max(f.rank for f in factors.values()), error, left_out)


def loadable(source: str, base: Checkpoint) -> str:
    """The base's name for transformers and peft: a hub id as it is, anything else by the folder it lies in."""
    elsewhere = Path(source).expanduser().is_dir() or source.startswith(("pypi:", "evomerge:"))
    return str(base.folder.resolve()) if elsewhere else source


def extract_lora(
    base: Checkpoint, expert: TaskVector, folder: Path, rank: int, base_name: str, dtype: torch.dtype = torch.bfloat16
) -> LoraExport:
    """Write the best adapter of this rank for one expert: truncated SVD of expert minus base, layer by layer."""
    factors, error, left_out = _truncate(((name, expert.delta(name)) for name in expert.names), rank)
    if not factors:
        raise UserError("the model does not differ from its base in any linear layer: there is no adapter to extract")
    _write(folder, factors, {}, base, base_name, dtype)
    return LoraExport(folder, max(f.rank for f in factors.values()), error, left_out)


def _default_rank(merger: Merger, recipe: Recipe) -> int:
    ranks = []
    for expert in recipe.experts:
        vector = merger.experts[expert.name]
        if isinstance(vector, LowRankTaskVector):
            ranks.append(max(factor.rank for factor in vector.factors.values()))
    if not ranks:
        raise UserError("an adapter of a merge of full checkpoints needs a rank: give one, for example rank=16")
    return sum(ranks)


def _truncate(
    deltas: Iterable[tuple[str, torch.Tensor]], rank: int
) -> tuple[dict[str, LowRank], float, tuple[str, ...]]:
    """Best factors of ``rank`` for every linear layer's delta, the relative error over all, and what was left out."""
    factors: dict[str, LowRank] = {}
    left_out = []
    lost = total = 0.0
    for name, delta in deltas:
        norm = float(delta.square().sum())
        total += norm
        if delta.ndim != 2 or not name.endswith(".weight") or _is_embedding(name):
            if norm:
                left_out.append(name)
            lost += norm
        elif norm:
            factors[name] = _svd(delta, rank)
            lost += float((delta - factors[name].dense()).square().sum())
    return factors, (lost / total) ** 0.5 if total else 0.0, tuple(left_out)


def _svd(delta: torch.Tensor, rank: int) -> LowRank:
    """Randomised SVD with power iterations (arXiv:0909.4061), singular values shared evenly between both factors."""
    rank = min(rank, *delta.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same command writes the same file
        u, values, v = torch.svd_lowrank(delta, min(rank + _OVERSAMPLING, *delta.shape), niter=_POWER_ITERATIONS)
    root = values[:rank].sqrt()
    return LowRank(u[:, :rank] * root, (v[:, :rank] * root).T)


def _is_embedding(name: str) -> bool:
    return any(part in name for part in ("embed", "lm_head", ".wte.", ".wpe."))


def _write(
    folder: Path,
    factors: Mapping[str, LowRank],
    modules: Mapping[str, str],
    base: Checkpoint,
    base_name: str,
    dtype: torch.dtype,
) -> None:
    by_module = {modules.get(name, name.removesuffix(".weight")): factor for name, factor in factors.items()}
    # Short names (q_proj) are what serving engines want; they are right only where all layers have that module adapted.
    leaves = [module.rpartition(".")[2] for module in by_module]
    in_base = [name.removesuffix(".weight").rpartition(".")[2] for name in base.names]
    complete = all(leaves.count(leaf) == in_base.count(leaf) for leaf in set(leaves))
    write_adapter(folder, by_module, base_name, set(leaves) if complete else None, dtype)
