"""Apply a recipe's modifiers (LiNeS, SVC) to merged deltas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from evomerge.engine.check_finite import overflow
from evomerge.engine.dense.merge_tensor import MergedTensor, whole
from evomerge.merging.modifiers import MODIFIERS
from evomerge.tensors.lazy import LazyMatrix, difference, row_ranges
from evomerge.types import Recipe
from evomerge.weights.parameter_names import layer_index
from evomerge.weights.tensor_files import all_finite


def layer_scale(recipe: Recipe, name: str, layers: int) -> float:
    """Factor on the merged delta of a parameter: that of ``lines``, or 1 without it."""
    if "lines" not in recipe.modifiers:
        return 1.0
    index = layer_index(name)
    depth = 0.0 if index is None or layers == 1 else index / (layers - 1)
    scale: float = MODIFIERS["lines"].function(depth, **recipe.modifiers["lines"])
    return scale


def modified_cores(
    recipe: Recipe,
    merged: torch.Tensor,
    cores: torch.Tensor,
    weights: torch.Tensor,
    names: Sequence[str],
    layers: int,
) -> torch.Tensor:
    """Merged cores (N, R, R) of the parameters ``names``, changed as the recipe says.

    Args:
        merged: merged cores that the method gives for experts' cores (N, T, R, R) and weights (N, T).
    """
    if "svc" in recipe.modifiers:
        merged = MODIFIERS["svc"].function(merged, cores, weights != 0, **recipe.modifiers["svc"])
    if "lines" in recipe.modifiers:
        scales = torch.tensor([layer_scale(recipe, name, layers) for name in names]).to(merged)
        merged = merged * scales[:, None, None]
    return merged


@dataclass(frozen=True)
class ModifiedTensor:
    """A merged parameter whose delta is changed after the merge.

    LiNeS works block by block. SVC needs the singular vectors of a whole matrix: it holds the merged matrix, its
    vectors and every expert's delta at once, (T + 6) x the matrix in float32, and is slow on large ones.

    Attributes:
        under: merged parameter with a base, in the dtype of the maths.
        scale: factor on the delta.
        svc: parameters of SVC, which applies to matrices only; None: no SVC.
        dtype: dtype of the output.
    """

    under: MergedTensor
    scale: float
    svc: Mapping[str, float] | None
    dtype: torch.dtype

    @property
    def name(self) -> str:
        return self.under.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self.under.shape

    @property
    def inputs(self) -> tuple[LazyMatrix, ...]:
        return self.under.inputs

    def blocks(self, device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        if self.svc is not None and len(self.shape) == 2:
            yield from self._calibrated(self.svc, device)
            return
        for (start, stop), (_, block) in zip(row_ranges(self.shape, device), self.under.blocks(device), strict=True):
            base = self._base(start, stop, block)
            yield start, self._rounded(base + self.scale * (block - base))

    def _calibrated(self, parameters: Mapping[str, float], device: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
        merged = whole(self.under, device)
        base = self._base(0, self.shape[0], merged)
        deltas = torch.empty((len(self.under.experts), *self.shape), dtype=merged.dtype, device=device)
        assert self.under.base is not None
        for row, expert in zip(deltas, self.under.experts, strict=True):
            difference(expert, self.under.base).fill(row, 0, self.shape[0])
        present = torch.tensor(self.under.weights, device=device) != 0
        delta = MODIFIERS["svc"].function(merged - base, deltas, present, **parameters)
        result = self._rounded(base + self.scale * delta)
        for start, stop in row_ranges(self.shape, device):
            yield start, result[start:stop]

    def _rounded(self, values: torch.Tensor) -> torch.Tensor:
        rounded = values.to(self.dtype)
        if not all_finite(rounded):
            raise overflow(self.name, self.dtype)
        return rounded

    def _base(self, start: int, stop: int, like: torch.Tensor) -> torch.Tensor:
        assert self.under.base is not None, "modifiers change a difference to the base"
        return self.under.base.rows(start, stop).to(like)
