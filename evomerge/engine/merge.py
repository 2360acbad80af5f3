"""The merged parameters of a recipe, one at a time: float32 inside, rounded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import torch

from evomerge.engine.coefficients import LINEAR_METHODS, check_experts, linear_coefficients, settings_of, weights_of
from evomerge.engine.core_space import CoreSpace
from evomerge.engine.layers import layer_count, layer_group
from evomerge.errors import UserError
from evomerge.merging.base import METHODS
from evomerge.merging.randomness import Randomness
from evomerge.merging.view import InMemoryView, Magnitudes
from evomerge.types import Recipe
from evomerge.weights.adapter import LowRank
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import LowRankTaskVector, TaskVector


class Merger:
    """Merges experts into their base, recipe after recipe. Holds what does not change between recipes of a run.

    Args:
        base: the pristine base; read from its files for every recipe, never held a second time in memory.
        experts: expert name -> task vector; a recipe may use some of them.
    """

    def __init__(self, base: Checkpoint, experts: Mapping[str, TaskVector]) -> None:
        self.base = base
        self.experts = dict(experts)
        self.layers = layer_count(base.names)
        self._names: dict[str, frozenset[str]] = {}
        self._known: dict[tuple[str, str], Magnitudes] = {}

    def changed(self, recipe: Recipe) -> tuple[str, ...]:
        """Parameters that some expert of the recipe changes, in the base's order."""
        check_experts(recipe, tuple(self.experts))
        touched = frozenset[str]().union(*(self._names_of(expert.name) for expert in recipe.experts))
        return tuple(name for name in self.base.names if name in touched)

    def tensors(self, recipe: Recipe, every: bool = False) -> Iterator[tuple[str, torch.Tensor]]:
        """Merged parameters in the recipe's dtype.

        Args:
            recipe: its experts must be among this merger's.
            every: also give the parameters no expert changes.

        Raises:
            UserError: the method cannot merge these experts, or refuses the recipe's numbers.
        """
        dtype = getattr(torch, recipe.dtype)
        merged = self.float_tensors(recipe)
        if not every:
            yield from ((name, tensor.to(dtype, copy=True)) for name, tensor in merged)
            return
        changed = set(self.changed(recipe))
        for name in self.base.names:
            if name in changed:
                name, tensor = next(merged)
                yield name, tensor.to(dtype, copy=True)
            else:
                tensor = self.base[name]
                yield name, tensor.to(dtype) if tensor.is_floating_point() else tensor

    def float_tensors(self, recipe: Recipe) -> Iterator[tuple[str, torch.Tensor]]:
        """The changed parameters in float32, unrounded. A tensor may be reused for the next: copy it to keep it."""
        names = self.changed(recipe)
        groups = {name: layer_group(name, len(recipe.weights), self.layers) for name in names}
        factored = self._factored(recipe, groups)
        scratch: dict[tuple[int, ...], torch.Tensor] = {}
        for name in names:
            if name not in factored:
                yield name, self._dense(recipe, name, groups[name])
                continue
            # one buffer per shape: fresh memory for every parameter costs more than the arithmetic
            shape = self.base.shape(name)
            if shape not in scratch:
                scratch[shape] = torch.empty(shape)
            out = scratch[shape].copy_(self.base[name])
            factor = factored[name]
            yield name, out.addmm_(factor.left, factor.right)

    def is_low_rank(self, recipe: Recipe) -> bool:
        """Whether the whole merged delta stays a LoRA: its experts are, and its method keeps to their factors."""
        keeps = recipe.method in LINEAR_METHODS or METHODS[recipe.method].space == "core"
        return keeps and all(isinstance(self.experts.get(e.name), LowRankTaskVector) for e in recipe.experts)

    @cached_property
    def core_space(self) -> CoreSpace:
        """Core space of all LoRA experts, built on first use."""
        adapters = {n: v for n, v in self.experts.items() if isinstance(v, LowRankTaskVector)}
        return CoreSpace(adapters, self.layers)

    def _factored(self, recipe: Recipe, groups: Mapping[str, int]) -> dict[str, LowRank]:
        """Merged deltas that need no dense work, in factors."""
        if METHODS[recipe.method].space == "core":
            full = [e.name for e in recipe.experts if not isinstance(self.experts[e.name], LowRankTaskVector)]
            if full:
                raise UserError(
                    f"{recipe.method} works on LoRA adapters, expert '{full[0]}' is a full checkpoint: use a "
                    "full-space method, or extract an adapter from it first (job=extract_lora)"
                )
            return self.core_space.to_lora(recipe)[0]
        coefficients = linear_coefficients(recipe)
        if coefficients is None:
            return {}
        factored = {}
        for name, group in groups.items():
            scales = coefficients[group].tolist()
            # an expert that leaves this parameter alone adds nothing; one with a dense delta rules factors out
            parts = [
                (self.experts[expert.name].low_rank(name), c)
                for expert, c in zip(recipe.experts, scales, strict=True)
                if name in self._names_of(expert.name)
            ]
            if all(part is not None for part, _ in parts):
                factored[name] = LowRank(
                    torch.cat([part.left * c for part, c in parts if part], dim=1),
                    torch.cat([part.right for part, _ in parts if part], dim=0),
                )
        return factored

    def _dense(self, recipe: Recipe, name: str, group: int) -> torch.Tensor:
        method = METHODS[recipe.method]
        base = self.base[name].float()
        experts = tuple(expert.name for expert in recipe.experts)
        deltas = torch.zeros(len(experts), *base.shape)
        for row, expert in zip(deltas, experts, strict=True):
            if name in self._names_of(expert):
                factor = self.experts[expert].low_rank(name)
                if factor is not None:
                    torch.mm(factor.left, factor.right, out=row)
                else:
                    row.copy_(self.experts[expert].delta(name))
        experts_in = deltas if method.inputs == "deltas" else deltas.add_(base)
        known = [self._known.setdefault((expert, name), Magnitudes()) for expert in experts]
        view = InMemoryView(base, experts_in, known=known)
        randomness = Randomness(recipe.seed, experts, name)
        return next(method.over(view, weights_of(recipe, group), randomness, **settings_of(recipe)))

    def _names_of(self, expert: str) -> frozenset[str]:
        if expert not in self._names:
            self._names[expert] = frozenset(self.experts[expert].names)
        return self._names[expert]
