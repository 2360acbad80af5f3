"""Combine LoRA adapters into one, by PEFT's combination types (peft's ``add_weighted_adapter``).

The types differ in what they merge:

- ``cat`` and the ``*_svd`` types merge the updates s_t B_t A_t. ``cat`` is their exact weighted sum, at the sum of the
  ranks; ``svd`` is the best approximation of that sum at the wanted rank. Both come from the factors alone. The others
  merge entries of the updates: they form the updates one block of rows at a time and truncate the result.
- ``linear``, ``ties``, ``dare_linear``, ``dare_ties`` and ``magnitude_prune`` merge all B_t into one and all A_t into
  one, each with the weight sqrt(|w_t s_t|), a negative sign on A's side. Their product is **not** the sum of the
  updates: ``linear`` gives (sum_t u_t B_t)(sum_t u_t A_t), which holds cross terms B_i A_j of different adapters. This
  is peft's definition, fast and rough; take ``cat`` or ``svd`` for the sum.

As in peft, ``ties`` elects signs by the unweighted entries, where an exact tie goes to +, and divides by the number of
agreeing adapters. Unlike peft, a single adapter is combined by the recipe's type (peft then always takes ``linear``),
every density keeps at least one entry, position breaks ties of magnitude, and random masks depend on (seed, adapter,
module) only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from evomerge.engine.core.adapter_matrices import merge_matrices
from evomerge.engine.extract.low_rank import Truncated, energy_of, factored_svd, randomized_svd
from evomerge.errors import UserError
from evomerge.merging.randomness import Randomness
from evomerge.recipes.combine_yaml import Combination
from evomerge.tensors.lazy import InMemory, LowRank
from evomerge.weights.adapters.adapter import Adapter

# Up to this smaller side, a truncated SVD is exact. For a larger matrix, eigenvectors take minutes and the randomised
# SVD (error within 1 % of the best possible) takes seconds.
_EXACT_SIDE = 2048


@dataclass(frozen=True)
class Factors:
    """One module's LoRA in its stored form; the update is ``scale * b @ a``.

    Attributes:
        b: factor (m, r), float32.
        a: factor (r, n), float32.
        scale: alpha / r, or alpha / sqrt(r).
        embedding: whether b and a belong to an embedding; their shapes are then (width, r) and (r, vocabulary).
    """

    b: torch.Tensor
    a: torch.Tensor
    scale: float = 1.0
    embedding: bool = False

    @property
    def rank(self) -> int:
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (m, n) of the update."""
        return self.b.shape[0], self.a.shape[1]


@dataclass(frozen=True)
class Combined:
    """The combined adapter.

    Attributes:
        factors: factors with scale 1 by module path.
        embeddings: paths of the modules that are embeddings; their factors are (width, r) and (r, vocabulary).
        relative_error: Frobenius norm of the truncation error over that of the merged updates; 0 without truncation.
    """

    factors: dict[str, LowRank]
    embeddings: frozenset[str]
    relative_error: float


def combine(models: Mapping[str, Adapter], recipe: Combination, seed: int = 0) -> Combined:
    """Combine adapters, inner combinations first.

    Args:
        models: the recipe's models, by the names the recipe gives them.
        recipe: type, weights and options.
        seed: seed of the random masks of the dare types.

    Raises:
        UserError: a module has different shapes, or different ranks though the type needs equal ones.
    """
    inputs: dict[str, Mapping[str, Factors]] = {}
    for entry in recipe.adapters:
        if isinstance(entry.model, Combination):
            inner = combine(models, entry.model, seed)
            inputs[entry.name] = {
                module: Factors(factor.left, factor.right, embedding=module in inner.embeddings)
                for module, factor in inner.factors.items()
            }
        else:
            inputs[entry.name] = stored_factors(models[entry.model])
    return combine_factors(inputs, recipe, seed)


def stored_factors(adapter: Adapter) -> dict[str, Factors]:
    """Stored factors of an adapter's linear layers and embeddings, by module path."""
    found = {}
    for module, factor in adapter.factors.items():
        scale = adapter.scale(module, factor.rank)
        found[module] = Factors(_unscaled(factor.left, scale), factor.right, scale)
    for module, factor in adapter.embeddings.items():
        scale = adapter.scale(module, factor.rank)
        found[module] = Factors(factor.right.mT, _unscaled(factor.left, scale).mT, scale, embedding=True)
    return found


def combine_factors(adapters: Mapping[str, Mapping[str, Factors]], recipe: Combination, seed: int = 0) -> Combined:
    """Combine adapters module by module.

    If some adapters lack a module, it is combined from the others.

    Args:
        adapters: factors by name of the adapter and by module path, for each of the recipe's adapters.
        recipe, seed: as in :func:`combine`.
    """
    rank = recipe.rank or max(factor.rank for factors in adapters.values() for factor in factors.values())
    merged: dict[str, LowRank] = {}
    lost = total = 0.0
    for module in sorted({module for factors in adapters.values() for module in factors}):
        found = [(entry.name, adapters[entry.name][module], entry.weight) for entry in recipe.adapters
                 if module in adapters[entry.name]]  # fmt: skip
        names, factors, weights = (tuple(column) for column in zip(*found, strict=True))
        _check(module, names, factors, recipe)
        random = Randomness(seed, names, module)
        if recipe.combine == "cat":
            merged[module] = _concatenated(factors, weights)
        elif recipe.truncates:
            svd = _update(factors, weights, recipe, random, rank)
            # singular values go to B's side, as in peft: the side matters when the factors are merged again
            merged[module] = LowRank((svd.u * svd.values).float(), svd.v.mT.float().contiguous())
            lost, total = lost + svd.lost, total + svd.energy
        else:
            merged[module] = _merged_factors(factors, weights, recipe, random)
    embeddings = {m for factors in adapters.values() for m, factor in factors.items() if factor.embedding}
    return Combined(merged, frozenset(embeddings), math.sqrt(max(0.0, lost) / total) if total else 0.0)


def _concatenated(factors: Sequence[Factors], weights: Sequence[float]) -> LowRank:
    return LowRank(
        torch.cat([factor.b for factor in factors], dim=1),
        torch.cat([factor.a * (w * factor.scale) for factor, w in zip(factors, weights, strict=True)], dim=0),
    )


def _merged_factors(
    factors: Sequence[Factors], weights: Sequence[float], recipe: Combination, random: Randomness
) -> LowRank:
    """Merge all A's into one and all B's into one."""
    scaled = [w * factor.scale for factor, w in zip(factors, weights, strict=True)]
    roots = [math.sqrt(abs(w)) for w in scaled]
    signed = [math.copysign(root, w) for root, w in zip(roots, scaled, strict=True)]
    left = merge_matrices([InMemory(factor.b) for factor in factors], roots, recipe, _part(random, "lora_B"))
    right = merge_matrices([InMemory(factor.a) for factor in factors], signed, recipe, _part(random, "lora_A"))
    return LowRank(left, right)


def _update(
    factors: Sequence[Factors], weights: Sequence[float], recipe: Combination, random: Randomness, rank: int
) -> Truncated:
    """The merged update, truncated to ``rank``."""
    if recipe.combine == "svd":
        return factored_svd(_exact_sum(factors, weights)).first(rank)
    updates = [LowRank(factor.b * factor.scale, factor.a) for factor in factors]
    return truncated_svd(merge_matrices(updates, weights, recipe, _part(random, "weight")), rank)


def _exact_sum(factors: Sequence[Factors], weights: Sequence[float]) -> LowRank:
    joined = _concatenated(factors, weights)
    # float64: in float32, rank-deficient sums would leave noise where peft has zeros
    return LowRank(joined.left.double(), joined.right.double())


def truncated_svd(matrix: torch.Tensor, rank: int) -> Truncated:
    """The ``rank`` largest singular triplets of a dense matrix (m, n).

    If the smaller side is at most 2048, the result is exact: it comes from the eigenvectors of the smaller Gram matrix
    in float64, five times faster than a full decomposition at 1024 x 4096. Larger matrices go to
    :func:`evomerge.engine.extract.low_rank.randomized_svd`.
    """
    if matrix.shape[0] > matrix.shape[1]:
        turned = truncated_svd(matrix.mT, rank)
        return Truncated(turned.v, turned.values, turned.u, turned.energy, turned.lost)
    if matrix.shape[0] > _EXACT_SIDE:
        return randomized_svd(matrix, rank)
    gram = torch.zeros(matrix.shape[0], matrix.shape[0], dtype=torch.float64)
    for start in range(0, matrix.shape[1], 4096):
        wide = matrix[:, start : start + 4096].double()
        gram.addmm_(wide, wide.mT)
    squares, vectors = torch.linalg.eigh(gram)
    u = vectors.flip(1)[:, :rank].to(matrix.dtype)
    images = matrix.mT @ u
    values = torch.linalg.vector_norm(images, dim=0)
    v = images / values.clamp_min(1e-30)  # a direction without energy has no right vector
    return Truncated(u, values, v, energy_of(matrix), max(0.0, float(squares.flip(0)[rank:].sum())))


def _unscaled(factor: torch.Tensor, scale: float) -> torch.Tensor:
    return factor / scale if scale else factor  # alpha = 0: the update is 0 for any factor


def _part(random: Randomness, name: str) -> Randomness:
    return Randomness(random.seed, random.experts, f"{random.tensor}.{name}")


def _check(module: str, names: Sequence[str], factors: Sequence[Factors], recipe: Combination) -> None:
    for name, factor in zip(names, factors, strict=True):
        if factor.shape != factors[0].shape:
            raise UserError(
                f"adapters of different bases: '{module}' has shape {list(factors[0].shape)} in {names[0]} and "
                f"{list(factor.shape)} in {name}; combine adapters of one base"
            )
        if recipe.needs_equal_ranks and factor.rank != factors[0].rank:
            raise UserError(
                f"{recipe.combine} needs equal ranks: '{module}' has rank {factors[0].rank} in {names[0]} and "
                f"{factor.rank} in {name}; use cat, svd or another *_svd type"
            )
