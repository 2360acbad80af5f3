"""Core space: merge LoRA experts as small matrices in one common basis per parameter (arXiv:2509.17786)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from evomerge.engine.core.compress import compress, shared_subspaces
from evomerge.engine.layer_groups import layer_group
from evomerge.engine.method_arguments import check_experts, linear_coefficients, settings_of, weights_of
from evomerge.engine.modify import modified_cores
from evomerge.errors import UserError
from evomerge.merging.randomness import Randomness
from evomerge.merging.registry import METHODS, MergeMethod
from evomerge.tensors.lazy import LowRank
from evomerge.types import Recipe
from evomerge.weights.task_vector import TaskVector


@dataclass(frozen=True)
class Basis:
    """Shared basis of one parameter's deltas: delta_t = u M_t v^T exactly.

    Attributes:
        u: left singular vectors (m, R) of the stacked B; R is the sum of the experts' ranks for this parameter.
        v: right singular vectors (n, R) of the stacked A. If R exceeds m or n, the last columns are 0.
    """

    u: torch.Tensor
    v: torch.Tensor


@dataclass(frozen=True)
class _Stack:
    """Parameters with the same R: cores (N, T, R, R)."""

    names: tuple[str, ...]
    cores: torch.Tensor


class CoreSpace:
    """Bases and core matrices of T LoRA experts.

    They are computed once; each candidate then costs a few tiny matrix products.

    Args:
        experts: task vectors by name of the expert.
        layers: number of layers of the model.
    """

    def __init__(self, experts: Mapping[str, TaskVector], layers: int) -> None:
        self.experts = tuple(experts)
        self.layers = layers
        self.bases: dict[str, Basis] = {}
        vectors = tuple(experts.values())
        cores: dict[str, torch.Tensor] = {}
        for names in _alike(vectors):
            for name, basis, core in zip(names, *_bases_and_cores(vectors, names), strict=True):
                self.bases[name], cores[name] = basis, core
        by_rank: dict[int, list[str]] = {}
        for name in sorted(cores):
            by_rank.setdefault(cores[name].shape[-1], []).append(name)
        self._stacks = [_Stack(tuple(names), torch.stack([cores[n] for n in names])) for names in by_rank.values()]
        self._states: dict[tuple[str, int], Any] = {}
        self._uniforms: dict[tuple[int, tuple[str, ...], int], torch.Tensor] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters that some expert changes."""
        return tuple(sorted(self.bases))

    def merge(self, recipe: Recipe) -> dict[str, torch.Tensor]:
        """Merged core (R, R) of every parameter: the merged delta is u M v^T.

        Takes methods of core space, and linear methods of full space, which give the same result in core space.
        """
        method, weights, settings = self._numbers(recipe)
        merged: dict[str, torch.Tensor] = {}
        for number, stack in enumerate(self._stacks):
            cores = self._merged(recipe, method, settings, number, weights[number])
            merged.update(zip(stack.names, cores, strict=True))
        return merged

    def parts(self, recipe: Recipe) -> dict[str, torch.Tensor]:
        """Parts (T, R, R) of every parameter, in the recipe's order of experts: :meth:`merge` is their weighted sum.

        It holds while every expert has a weight above 0.

        Raises:
            UserError: the method is not linear in the weights as the recipe sets it, or the recipe has modifiers.
        """
        method, _, settings = self._numbers(recipe)
        plain = {name: default for name, (_, default) in method.parameters.items()}
        if method.parts is None or settings != plain or recipe.modifiers:
            raise UserError(
                f"{recipe.method} as this recipe sets it has no parts whose weighted sum is the merge: use core_tsv or "
                "core_task_arithmetic with its default parameters and no modifiers"
            )
        columns = [self.experts.index(expert.name) for expert in recipe.experts]
        parts: dict[str, torch.Tensor] = {}
        for number, stack in enumerate(self._stacks):
            weighted = method.parts(self._state(method, number))[:, columns]
            parts.update(zip(stack.names, weighted, strict=True))
        return parts

    def to_lora(self, recipe: Recipe, rank: int | None = None) -> tuple[dict[str, LowRank], float]:
        """Factors of every parameter's merged delta.

        Args:
            recipe: recipe whose method :meth:`merge` takes.
            rank: number of the largest singular directions to keep of each delta; default: all, which is exact.

        Returns:
            Factors by parameter name, and the relative error in Frobenius norm over all parameters (0 if exact).
        """
        factors: dict[str, LowRank] = {}
        lost = total = 0.0
        for name, core in self.merge(recipe).items():
            basis = self.bases[name]
            total += float(core.double().square().sum())
            if rank is None or rank >= core.shape[0]:
                factors[name] = LowRank(basis.u @ core, basis.v.T)
                continue
            left, values, right = torch.linalg.svd(core)
            factors[name] = LowRank(basis.u @ (left[:, :rank] * values[:rank]), right[:rank] @ basis.v.T)
            lost += float(values[rank:].double().square().sum())
        return factors, (lost / total) ** 0.5 if total else 0.0

    def to_compressed_lora(self, recipe: Recipe, rank: int) -> tuple[dict[str, LowRank], float]:
        """Compress the experts to shared subspaces of this rank, then merge them there (arXiv:2606.03723).

        Returns:
            As :meth:`to_lora`; the error is against the exact merge. Truncating the exact merge gives the nearest
            adapter, so its error is never larger; compressing first preserves each single expert better.
        """
        method, weights, settings = self._numbers(recipe)
        factors: dict[str, LowRank] = {}
        lost = total = 0.0
        for number, (stack, own) in enumerate(zip(self._stacks, weights, strict=True)):
            whole = self._merged(recipe, method, settings, number, own)
            total += float(whole.double().square().sum())
            if rank >= whole.shape[-1]:
                for name, core in zip(stack.names, whole, strict=True):
                    factors[name] = LowRank(self.bases[name].u @ core, self.bases[name].v.T)
                continue
            left, right = shared_subspaces(stack.cores, own, rank)
            small = self._merged(recipe, method, settings, number, own, compress(stack.cores, left, right))
            lost += float((whole - left @ small @ right.mT).double().square().sum())
            for name, core, u, v in zip(stack.names, small, left, right, strict=True):
                factors[name] = LowRank(self.bases[name].u @ u @ core, (self.bases[name].v @ v).T)
        return factors, (lost / total) ** 0.5 if total else 0.0

    def _numbers(self, recipe: Recipe) -> tuple[MergeMethod, list[torch.Tensor], dict[str, Any]]:
        """The method, the weights (N, T) of every stack's parameters, and the method's settings."""
        check_experts(recipe, self.experts)
        coefficients = linear_coefficients(recipe)
        method = METHODS["core_task_arithmetic" if coefficients is not None else recipe.method]
        assert method.space == "core", f"{method.name} is not exact in core space"
        if coefficients is None:
            coefficients = [weights_of(recipe, group) for group in range(len(recipe.weights))]
        by_group = torch.zeros(len(coefficients), len(self.experts))
        columns = [self.experts.index(expert.name) for expert in recipe.experts]
        by_group[:, columns] = torch.stack(coefficients)
        groups = [[layer_group(n, len(coefficients), self.layers) for n in stack.names] for stack in self._stacks]
        return method, [by_group[own] for own in groups], self._settings(recipe, method, columns)

    def _merged(
        self,
        recipe: Recipe,
        method: MergeMethod,
        settings: Mapping[str, Any],
        number: int,
        weights: torch.Tensor,
        cores: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Merged cores (N, R, R) of a stack, from its cores or from ``cores`` (N, T, R, R) in their place."""
        names = self._stacks[number].names
        state = self._state(method, number) if cores is None else method.prepare(cores)
        cores = self._stacks[number].cores if cores is None else cores
        if method.draws:
            settings = {**settings, "uniform": self._uniform(recipe.seed, names, cores.shape[-1])}
        merged = method(state, weights, **settings)
        return modified_cores(recipe, merged, cores, weights, names, self.layers)

    def _uniform(self, seed: int, names: tuple[str, ...], size: int) -> torch.Tensor:
        """Random numbers in (0, 1) for each entry of the cores (N, T, R, R), the same for every candidate."""
        key = (seed, names, size)
        if key not in self._uniforms:
            drawn = [Randomness(seed, self.experts, name) for name in names]
            self._uniforms[key] = torch.stack(
                [torch.stack([r.uniform(t, (size, size)) for t in range(len(self.experts))]) for r in drawn]
            )
        return self._uniforms[key]

    def _state(self, method: MergeMethod, number: int) -> Any:
        key = (method.name, number)
        if key not in self._states:
            self._states[key] = method.prepare(self._stacks[number].cores)
        return self._states[key]

    def _settings(self, recipe: Recipe, method: MergeMethod, columns: Sequence[int]) -> dict[str, Any]:
        """The method's arguments, with per-expert ones in this space's order; experts outside the recipe get
        defaults."""
        settings = settings_of(recipe)
        for name, (_, default) in method.expert_parameters.items():
            values = [default] * len(self.experts)
            for column, value in zip(columns, recipe.expert_parameters.get(name, ()), strict=False):
                values[column] = value
            settings[name] = tuple(values)
        return settings


def _alike(vectors: Sequence[TaskVector]) -> list[list[str]]:
    """Group parameter names by shapes and ranks, so that one batch computes a group."""
    alike: dict[tuple[tuple[int, ...], ...], list[str]] = {}
    for name in sorted({name for vector in vectors for name in vector.names}):
        factors = [vector.factors(name) for vector in vectors]
        key = tuple((f.left.shape[0], f.right.shape[1], f.rank) if f else () for f in factors)
        alike.setdefault(key, []).append(name)
    return list(alike.values())


def _bases_and_cores(vectors: Sequence[TaskVector], names: Sequence[str]) -> tuple[list[Basis], torch.Tensor]:
    """Bases of N parameters of one shape and their cores (N, T, R, R).

    The singular vectors come from a QR of the stacked factors and an SVD of its small triangle. This is exact and forms
    no m x n matrix.
    """
    parts = [[vector.factors(name) for vector in vectors] for name in names]
    stacked_b = torch.stack([torch.cat([f.left for f in row if f], dim=1) for row in parts])
    stacked_a = torch.stack([torch.cat([f.right for f in row if f], dim=0) for row in parts])
    u, project_b = _singular_basis(stacked_b)
    v, project_a = _singular_basis(stacked_a.mT)
    count, _, size = stacked_b.shape
    cores = torch.zeros(count, len(vectors), size, size)
    start = 0
    for t, factor in enumerate(parts[0]):
        if factor is not None:
            part = slice(start, start + factor.rank)
            cores[:, t] = project_b[:, :, part] @ project_a[:, :, part].mT
            start += factor.rank
    return [Basis(*pair) for pair in zip(u, v, strict=True)], cores


def _singular_basis(stacked: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Left singular vectors Q (N, m, R) of ``stacked`` (N, m, R) and Q^T stacked (N, R, R); zero-padded if m < R."""
    q, triangle = torch.linalg.qr(stacked)
    left, values, right = torch.linalg.svd(triangle, full_matrices=False)
    basis, projected = q @ left, values[..., :, None] * right
    missing = stacked.shape[-1] - basis.shape[-1]
    if missing:
        basis = torch.nn.functional.pad(basis, (0, missing))
        projected = torch.nn.functional.pad(projected, (0, 0, 0, missing))
    return basis, projected
