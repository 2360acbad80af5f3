"""Combine LoRA adapters into one (``job=merge`` with a ``combine`` recipe)."""

from __future__ import annotations

import torch

from evomerge.engine.core.combine_adapters import combine
from evomerge.errors import UserError
from evomerge.files.overwrite_guard import output_path
from evomerge.jobs.steps.model_names import model_source
from evomerge.recipes.combine_yaml import load
from evomerge.tensors.lazy import LowRank
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.adapters.updates import updates_on
from evomerge.weights.adapters.writer import new_adapter
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.sources import loadable, resolve


def run(recipe_file: str, out: str, seed: int | None = None) -> None:
    """Read the recipe, combine, write the adapter folder ``out``. ``seed``: instead of the recipe's."""
    recipe = load(recipe_file)
    target = output_path(out, [recipe.base, *recipe.combination.models])
    adapters = {model: Adapter(resolve(model)) for model in recipe.combination.models}
    source = None if recipe.base is None else model_source(recipe.base)
    base = None if source is None else Checkpoint(resolve(source))
    for adapter in adapters.values():
        _refuse_more_than_factors(adapter, base)
    if source is None or base is None:
        base_name = _named_base(tuple(adapters.values()))
    else:
        base_name = loadable(source, base.folder)
    combined = combine(adapters, recipe.combination, recipe.seed if seed is None else seed)
    in_base = [] if base is None else [name.removesuffix(".weight") for name in base.names]
    transposed = any(adapter.config.get("fan_in_fan_out") for adapter in adapters.values())
    with new_adapter(target, base_name, in_base, getattr(torch, recipe.dtype)) as writer:
        for module, factor in combined.factors.items():
            if module in combined.embeddings:
                writer.embedding(module, LowRank(factor.right.mT, factor.left.mT))
            else:
                writer.linear(module, factor, transposed=transposed)
    rank = max(factor.rank for factor in combined.factors.values())
    error = f"; relative error of the truncation {combined.relative_error:.4f}" if recipe.combination.truncates else ""
    print(f"{recipe.combination.combine} of {len(adapters)} adapters, rank {rank}, written to {target}{error}")


def _refuse_more_than_factors(adapter: Adapter, base: Checkpoint | None) -> None:
    """Refuse an adapter with more than LoRA factors: combination types are defined on these alone."""
    cure = "merge it with full models instead (a recipe with 'method')"
    if base is not None:
        more = [name for name, update in updates_on(adapter, base).items() if update.low_rank is None]
    else:
        more = [*adapter.magnitudes, *adapter.shifts, *adapter.replacements]
        if adapter.replacements:
            cure = "give the key 'base' if this only repeats the base's values, else " + cure
    if more:
        raise UserError(
            f"adapter {adapter.folder} holds more than LoRA factors for '{more[0]}' (DoRA, a bias or a whole "
            f"parameter), which have no combination type: {cure}"
        )


def _named_base(adapters: tuple[Adapter, ...]) -> str:
    """The base that all adapters name; refuse adapters of different bases."""
    named = {str(adapter.config.get("base_model_name_or_path") or ""): adapter for adapter in adapters}
    if len(named) == 1:
        return next(iter(named))
    (first, one), (second, other) = list(named.items())[:2]
    raise UserError(
        f"the adapters name different bases, '{first}' in {one.folder} and '{second}' in {other.folder}: give the "
        "key 'base' with the one to enter in the result"
    )
