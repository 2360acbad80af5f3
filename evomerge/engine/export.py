"""Write a recipe's model or LoRA as a folder that transformers and PEFT load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from evomerge.engine.dense.write_tensors import Progress, write_tensors
from evomerge.engine.extract.extract import extract
from evomerge.engine.extract.merge_into_deltas import adapter_modules, dense_deltas_of_merge
from evomerge.engine.extract.plan import ExtractOptions, Plan
from evomerge.engine.merger import Merger
from evomerge.errors import UserError
from evomerge.types import Recipe
from evomerge.weights.adapters.writer import write_adapter
from evomerge.weights.sources import loadable
from evomerge.weights.stream_writer import MAX_SHARD_BYTES, companions, with_dtype


@dataclass(frozen=True)
class LoraExport:
    """A written adapter and its error.

    Attributes:
        folder: folder of the adapter.
        rank: largest rank of its modules.
        relative_error: Frobenius norm of the adapter's error over that of the whole update; 0 if exact. It excludes the
            rounding of the factors to their dtype.
        left_out: changed parameters that a LoRA on linear layers cannot hold (norms, embeddings); the error includes
            them.
        how: ``exact``; ``truncated``, the nearest adapter of its rank to the merge; or ``compressed``, the experts
            compressed to shared subspaces and merged there.
    """

    folder: Path
    rank: int
    relative_error: float
    left_out: tuple[str, ...] = ()
    how: str = "exact"


def export_model(
    merger: Merger,
    recipe: Recipe,
    folder: Path,
    progress: Progress = lambda written, total: None,
    threads: int | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> Path:
    """Write the merged model with the base's configuration and tokenizer; plain transformers loads it."""
    write_tensors(
        merger.plan(recipe, every=True),
        folder,
        config=with_dtype(merger.base.config, recipe.dtype),
        files=companions(merger.base.folder),
        progress=progress,
        threads=threads,
        max_shard_bytes=max_shard_bytes,
    )
    return folder


def export_lora(
    merger: Merger,
    recipe: Recipe,
    folder: Path,
    rank: int | None = None,
    dtype: torch.dtype = torch.bfloat16,
    compressed: bool = False,
) -> LoraExport:
    """Write the merge as a PEFT adapter on the base.

    Args:
        merger: merger that holds the recipe's experts.
        recipe: recipe of any method. If the merge stays in the LoRAs' factors (task arithmetic, linear, core space),
            the adapter is exact at the sum of the experts' ranks; otherwise it is a truncated SVD of the merged delta.
        folder: output folder; an existing one is replaced.
        rank: rank of the adapter; default: the sum of the experts' ranks.
        dtype: dtype of the stored factors.
        compressed: whether a merge in factors reaches a smaller rank by compressing the experts before the merge. A
            truncation of the merge is nearest to it (Eckart and Young 1936), but does not always score best.

    Raises:
        UserError: ``rank`` is None and no expert is an adapter with a rank.
    """
    base_name = loadable(recipe.base, merger.base.folder)
    if not merger.is_low_rank(recipe):
        options = ExtractOptions(rank=rank or _default_rank(merger, recipe), dtype=dtype)
        done = extract(dense_deltas_of_merge(merger, recipe), folder, base_name, options)
        return LoraExport(folder, done.rank, done.relative_error, done.left_out, "truncated")
    space = merger.core_space(recipe)
    factors, error = space.to_lora(recipe, rank)
    ranks = {name: basis.u.shape[1] for name, basis in space.bases.items()}
    chosen = "truncated" if any(factor.rank < ranks[name] for name, factor in factors.items()) else "exact"
    if chosen == "truncated" and compressed:
        assert rank is not None
        factors, error = space.to_compressed_lora(recipe, rank)
        chosen = "compressed"
    plan = Plan(merger.base, adapter_modules(merger), ExtractOptions())
    by_module = {plan.module(name): factor for name, factor in factors.items()}
    write_adapter(folder, by_module, base_name, plan.in_base(), dtype)
    return LoraExport(folder, max(factor.rank for factor in factors.values()), error, (), chosen)


def _default_rank(merger: Merger, recipe: Recipe) -> int:
    ranks = []
    for expert in recipe.experts:
        vector = merger.experts[expert.name]
        if vector.is_lora:
            ranks.append(max(factor.rank for name in vector.names if (factor := vector.factors(name))))
    if not ranks:
        raise UserError("an adapter of a merge of full checkpoints needs a rank: give one, for example rank=16")
    return sum(ranks)
