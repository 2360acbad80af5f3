"""K recipes on one live model at once: every row of a batch is computed as its own candidate."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from evomerge.engine.core.core_space import CoreSpace
from evomerge.engine.live_model import LiveModel
from evomerge.types import Recipe
from evomerge.weights.checkpoint import find_name


class _Patch:
    """What one linear layer adds: y += ((x v) M_c^T) u^T, with M_c the core of the row's candidate."""

    def __init__(self, u: torch.Tensor, v: torch.Tensor) -> None:
        self.v = v.contiguous()  # (n, R)
        self.ut = u.T.contiguous()  # (R, m)
        self.cores = torch.empty(0)  # (K, R, R), transposed
        self.by_row = torch.empty(0)  # (batch, R, R) or, for equal runs of rows, (K, R, R)

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = inputs[0]
        blocks, size = self.by_row.shape[0], self.ut.shape[0]
        inner = torch.mm(x.reshape(-1, x.shape[-1]), self.v).view(blocks, -1, size)
        inner = torch.bmm(inner, self.by_row).view(-1, size)
        flat = output.view(-1, output.shape[-1])
        return flat.addmm_(inner, self.ut).view(output.shape)


class Population:
    """Lets K core-space recipes share each forward pass of a live model.

    Args:
        live: the model; it is restored to the base while recipes are installed.
        space: the experts' core space.
    """

    def __init__(self, live: LiveModel, space: CoreSpace) -> None:
        self._live = live
        self.space = space
        modules = dict(live.model.named_modules())
        weights = {f"{name}.weight": module for name, module in modules.items() if isinstance(module, nn.Linear)}
        dtype = getattr(torch, live.dtype)
        self._layers: dict[str, tuple[nn.Module, _Patch]] = {}
        for name in space.names:
            found = find_name(name, weights)
            assert found is not None, f"{name} is no linear layer of the model"
            basis = space.bases[name]
            patch = _Patch(*(side.to(live.device, dtype) for side in (basis.u, basis.v)))
            self._layers[name] = weights[found], patch
        self._handles: list[RemovableHandle] = []
        self._candidates = 0

    def install(self, recipes: Sequence[Recipe]) -> None:
        """From here on the model computes ``recipes``; one recipe serves all rows, more need :meth:`set_rows`."""
        assert recipes, "no recipes"
        self.remove()
        self._live.restore()
        dtype = getattr(torch, self._live.dtype)
        merged = [self.space.merge_stacked(recipe) for recipe in recipes]
        for number, names in enumerate(self.space.stacked_names):
            cores = torch.stack([candidate[number] for candidate in merged], dim=1).mT  # (N, K, R, R)
            cores = cores.to(self._live.device, dtype).contiguous()
            for name, core in zip(names, cores, strict=True):
                self._layers[name][1].cores = core
        self._candidates = len(recipes)
        self._handles = [module.register_forward_hook(patch) for module, patch in self._layers.values()]
        self.set_rows(torch.zeros(1, dtype=torch.long) if len(recipes) == 1 else torch.arange(len(recipes)))

    def set_rows(self, candidate_of_row: torch.Tensor) -> None:
        """Say which candidate each row of the next batches is, (batch,) long in [0, K).

        Fastest when rows are sorted by candidate with equally many each; any other order works.
        """
        assert self._handles, "install recipes first"
        rows = candidate_of_row.long().cpu()
        assert int(rows.min()) >= 0 and int(rows.max()) < self._candidates, "row of an unknown candidate"
        present, counts = torch.unique_consecutive(rows, return_counts=True)
        if bool((counts == counts[0]).all()):
            rows = present  # equal runs: one small matrix product per run instead of one per row
        index = rows.to(self._live.device)
        for _, patch in self._layers.values():
            patch.by_row = patch.cores.index_select(0, index)

    def remove(self) -> None:
        """The base model again; its weights were never touched."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @contextlib.contextmanager
    def installed(self, recipes: Sequence[Recipe]) -> Iterator[Population]:
        """:meth:`install` on entry, :meth:`remove` on exit."""
        self.install(recipes)
        try:
            yield self
        finally:
            self.remove()
