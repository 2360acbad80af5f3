"""SCE (FuseChat): select, calculate, erase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.block import View
from evomerge.merging.parameters import Range
from evomerge.merging.registry import merge_method
from evomerge.merging.sparsify import Cut, MagnitudeIndex, keep_largest

SelectTopk = Annotated[float, Range(0.05, 1.0, above=0.0, at_most=1.0)]
EnergyFloor = Annotated[float, Range(0.0, 1e-6, at_least=0.0, searched=False)]

# The sum of the coefficients that remain is at least this (mergekit's bound).
_NO_COEFFICIENT = 1e-6


@dataclass(frozen=True)
class Selection:
    """Which entries take part (None: all; ``nothing``: none), and the share of each expert in the energy."""

    cut: Cut | None
    nothing: bool
    coefficients: tuple[float, ...]


def selection(view: View, weights: Tensor, select_topk: float, energy_floor: float) -> Selection:
    """The entries of largest variance, and there each expert's mean square as a share of all experts' sum."""
    cut: Cut | None = None
    nothing = False
    if select_topk < 1.0:
        differing = 0

        def variances() -> Iterator[Tensor]:
            nonlocal differing
            for block in view.blocks():
                found = _variance(_weighted(block.experts, weights))
                differing += int(torch.count_nonzero(found))
                yield found

        index = MagnitudeIndex.build(variances())  # not kept for other candidates: their weights change it
        k = int(select_topk * differing)
        nothing = k == 0
        cut = index.cut(variances(), k) if k else None
    energies = torch.zeros(view.experts, dtype=torch.float64)
    entries = 0
    for block in view.blocks():
        kept = _selected(_weighted(block.experts, weights), cut, nothing, block.start)
        energies += kept.reshape(len(kept), -1).double().square_().sum(1).cpu()
        entries += kept[0].numel()
    mean = energies / entries
    if float(mean.sum()) <= energy_floor:
        return Selection(cut, nothing, (1.0 / view.experts,) * view.experts)
    return Selection(cut, nothing, tuple((mean / mean.sum()).tolist()))


@merge_method(paper="arXiv:2408.07990", measure=selection)
def sce(
    base: Tensor,
    deltas: Tensor,
    weights: Tensor,
    *,
    measured: Selection,
    start: int,
    select_topk: SelectTopk = 1.0,
    energy_floor: EnergyFloor = 0.0,
) -> Tensor:
    """Keep the entries that differ most between experts, elect a sign, average by each expert's energy.

    The deltas are first multiplied by the weights (the paper has none). Of the entries whose variance over the experts
    is not 0 the share ``select_topk`` stays. The mean over the experts of the elected sign is weighted by their mean
    squares in this parameter; by none where these sum to at most ``energy_floor`` (mergekit: 1e-6).
    """
    kept = _selected(_weighted(deltas, weights), measured.cut, measured.nothing, start)
    elected = kept.sum(0).sign_().add_(0.5).sign_()
    kept.mul_(elected).clamp_min_(0.0)
    coefficients = kept.new_tensor(measured.coefficients)
    merged: Tensor = torch.tensordot(coefficients, kept, dims=1).mul_(elected)
    agreeing = torch.tensordot(coefficients, kept.sign_(), dims=1)
    return merged.div_(agreeing.clamp_min_(_NO_COEFFICIENT)).add_(base)


def _weighted(deltas: Tensor, weights: Tensor) -> Tensor:
    return deltas * weights.to(deltas).view(-1, *(1,) * (deltas.dim() - 1))


def _variance(deltas: Tensor) -> Tensor:
    """Over the experts, shape S: of the population."""
    return torch.var(deltas, dim=0, correction=0)


def _selected(deltas: Tensor, cut: Cut | None, nothing: bool, start: int) -> Tensor:
    """Deltas (T, *S), a fresh tensor, with the entries outside the selection set to 0; in place."""
    if nothing:
        return deltas.zero_()
    if cut is not None:
        deltas.mul_(keep_largest(_variance(deltas), cut, start).sign_())
    return deltas
