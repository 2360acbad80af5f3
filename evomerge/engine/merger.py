"""Plan the merged parameters of a recipe over experts that stay loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from evomerge.engine.core.core_space import CoreSpace
from evomerge.engine.dense.merge_tensor import CopiedTensor, FactoredTensor, MergedTensor, OutputTensor, whole
from evomerge.engine.layer_groups import layer_count, layer_group
from evomerge.engine.method_arguments import check_experts, linear_coefficients, settings_of
from evomerge.engine.modify import ModifiedTensor, layer_scale
from evomerge.errors import UserError
from evomerge.merging.block import Magnitudes, Memory
from evomerge.merging.registry import METHODS
from evomerge.tensors.lazy import LazyMatrix, LowRank
from evomerge.types import Recipe
from evomerge.weights.checkpoint import Checkpoint, Stored
from evomerge.weights.task_vector import TaskVector

#: Bytes that a merger keeps for later candidates beside the experts: one an entry of a delta that TIES or Breadcrumbs
#: has cut twice, until they are used up.
KEPT_BYTES = 2 << 30


class Merger:
    """Merge experts into their base, recipe after recipe, and keep the data that all recipes of a run share.

    Args:
        base: the pristine base; every recipe reads it from its files, so that memory holds no second copy.
        experts: task vectors by name of the expert; a recipe may use some of them.
    """

    def __init__(self, base: Checkpoint, experts: Mapping[str, TaskVector]) -> None:
        self.base = base
        self.experts = dict(experts)
        self.layers = layer_count(base.names)
        self._names: dict[str, frozenset[str]] = {}
        self._known: dict[tuple[str, str], Magnitudes] = {}
        self._memory = Memory(KEPT_BYTES)
        self._core_spaces: dict[frozenset[str], CoreSpace] = {}

    def changed(self, recipe: Recipe) -> tuple[str, ...]:
        """Names of the parameters that some expert of the recipe changes, in the base's order."""
        check_experts(recipe, tuple(self.experts))
        touched = frozenset[str]().union(*(self._names_of(expert.name) for expert in recipe.experts))
        return tuple(name for name in self.base.names if name in touched)

    def plan(self, recipe: Recipe, every: bool = False, dtype: torch.dtype | None = None) -> list[OutputTensor]:
        """The merged parameters in the base's order, not yet computed.

        Args:
            recipe: recipe whose experts this merger holds.
            every: whether to include the parameters that no expert changes.
            dtype: dtype of the parameters; default: the recipe's.

        Raises:
            UserError: the method cannot merge these experts, or refuses the recipe's numbers.
        """
        dtype = dtype or getattr(torch, recipe.dtype)
        names = self.changed(recipe)
        groups = {name: layer_group(name, len(recipe.weights), self.layers) for name in names}
        factored = self._factored(recipe, groups)
        planned: list[OutputTensor] = []
        for name in self.base.names if every else names:
            base = Stored(self.base, name)
            if name in factored:
                planned.append(FactoredTensor(name, base, factored[name], dtype))
            elif name in groups:
                planned.append(self._dense(recipe, base, groups[name], dtype))
            else:
                planned.append(CopiedTensor(name, base, dtype if base.dtype.is_floating_point else base.dtype))
        return planned

    def tensors(
        self, recipe: Recipe, every: bool = False, dtype: torch.dtype | None = None
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Merged parameters, one at a time; see :meth:`plan`."""
        yield from ((tensor.name, whole(tensor)) for tensor in self.plan(recipe, every, dtype))

    def is_low_rank(self, recipe: Recipe) -> bool:
        """Whether the whole merged delta is a LoRA: all experts are, and the method works on their factors."""
        keeps = linear_coefficients(recipe) is not None or METHODS[recipe.method].space == "core"
        return keeps and all(e.name in self.experts and self.experts[e.name].is_lora for e in recipe.experts)

    def core_space(self, recipe: Recipe) -> CoreSpace:
        """Core space of the recipe's LoRA experts, built on first use.

        Other experts of this merger stay out: element-wise methods depend on the basis, and a recipe must give the same
        model whatever else is loaded.
        """
        asked = {expert.name for expert in recipe.experts}
        adapters = {n: v for n, v in self.experts.items() if n in asked and v.is_lora}
        key = frozenset(adapters)
        if key not in self._core_spaces:
            self._core_spaces[key] = CoreSpace(adapters, self.layers)
        return self._core_spaces[key]

    def _factored(self, recipe: Recipe, groups: Mapping[str, int]) -> dict[str, LowRank]:
        """Factors of the merged deltas that need no dense matrix."""
        if METHODS[recipe.method].space == "core":
            full = [e.name for e in recipe.experts if not self.experts[e.name].is_lora]
            if full:
                raise UserError(
                    f"{recipe.method} works on LoRA adapters, expert '{full[0]}' is a full checkpoint: use a "
                    "full-space method, or extract an adapter from it first (job=extract_lora)"
                )
            return self.core_space(recipe).to_lora(recipe)[0]
        coefficients = linear_coefficients(recipe)
        if coefficients is None:
            return {}
        if "svc" in recipe.modifiers:  # SVC calibrates in the shared basis or on dense deltas
            return self.core_space(recipe).to_lora(recipe)[0] if self.is_low_rank(recipe) else {}
        factored = {}
        for name, group in groups.items():
            scales = (coefficients[group] * layer_scale(recipe, name, self.layers)).tolist()
            # skip experts that do not change this parameter; an expert with a dense delta rules factors out
            parts = [
                (self.experts[expert.name].factors(name), c)
                for expert, c in zip(recipe.experts, scales, strict=True)
                if name in self._names_of(expert.name)
            ]
            if all(part is not None for part, _ in parts):
                factored[name] = LowRank(
                    torch.cat([part.left * c for part, c in parts if part], dim=1),
                    torch.cat([part.right for part, _ in parts if part], dim=0),
                )
        return factored

    def _dense(self, recipe: Recipe, base: Stored, group: int, dtype: torch.dtype) -> OutputTensor:
        scale, svc = layer_scale(recipe, base.name, self.layers), recipe.modifiers.get("svc")
        if scale == 1.0 and svc is None:
            return self._unmodified(recipe, base, group, dtype)
        work = torch.float64 if base.dtype == torch.float64 else torch.float32
        return ModifiedTensor(self._unmodified(recipe, base, group, work), scale, svc, dtype)

    def _unmodified(self, recipe: Recipe, base: Stored, group: int, dtype: torch.dtype) -> MergedTensor:
        names = tuple(expert.name for expert in recipe.experts)
        work = torch.float64 if base.dtype == torch.float64 else torch.float32
        return MergedTensor(
            name=base.name,
            shape=base.shape,
            base=base,
            experts=tuple(self._expert(name, base) for name in names),
            expert_names=names,
            method=METHODS[recipe.method],
            weights=recipe.weights[group],
            parameters=settings_of(recipe),
            seed=recipe.seed,
            dtype=dtype,
            work=work,
            known=tuple(self._known.setdefault((name, base.name), Magnitudes(self._memory)) for name in names),
            sources=tuple(f"expert '{expert.name}' ({expert.source})" for expert in recipe.experts),
        )

    def _expert(self, expert: str, base: Stored) -> LazyMatrix:
        """The expert's parameter; the base's if the expert does not change it."""
        return self.experts[expert].model(base.name) if base.name in self._names_of(expert) else base

    def _names_of(self, expert: str) -> frozenset[str]:
        if expert not in self._names:
            self._names[expert] = frozenset(self.experts[expert].names)
        return self._names[expert]
