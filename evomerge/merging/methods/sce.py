"""SCE (FuseChat): select, calculate, erase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.block import Block, Parameter
from evomerge.merging.magnitude_index import Cut, MagnitudeIndex
from evomerge.merging.parameters import Range
from evomerge.merging.registry import merge_method
from evomerge.merging.sparsify import keep_largest

SelectTopk = Annotated[float, Range(0.05, 1.0, above=0.0, at_most=1.0)]
EnergyFloor = Annotated[float, Range(0.0, 1e-6, at_least=0.0, searched=False)]

# The sum of the coefficients that remain is at least this (mergekit's bound).
_NO_COEFFICIENT = 1e-6


@merge_method(paper="arXiv:2408.07990")
def sce(
    parameter: Parameter, weights: Tensor, *, select_topk: SelectTopk = 1.0, energy_floor: EnergyFloor = 0.0
) -> Iterator[Tensor]:
    """Keep the entries that differ most between experts, elect a sign, average by each expert's energy.

    The deltas are first multiplied by the weights (the paper has none). Of the entries whose variance over the experts
    is not 0, the fraction ``select_topk`` is kept. The mean over the experts of the elected sign is weighted by their
    mean squares in this parameter; by none where these sum to at most ``energy_floor`` (mergekit: 1e-6).
    """
    selection = _select(parameter, weights, select_topk)
    energies = _energy_ratios(parameter, weights, selection, energy_floor)
    for block in parameter.blocks():
        kept = selection.of(block, weights)
        elected = kept.sum(0).sign_().add_(0.5).sign_()
        kept.mul_(elected).clamp_min_(0.0)
        coefficients = kept.new_tensor(energies)
        merged: Tensor = torch.tensordot(coefficients, kept, dims=1).mul_(elected)
        agreeing = torch.tensordot(coefficients, kept.sign_(), dims=1)
        yield block.add_base(merged.div_(agreeing.clamp_min_(_NO_COEFFICIENT)))


@dataclass(frozen=True)
class _Selection:
    """The entries that take part: those of ``cut``, all without one; or ``nothing``."""

    cut: Cut | None
    nothing: bool

    def of(self, block: Block, weights: Tensor) -> Tensor:
        """The weighted deltas (T, *S) of a block, a fresh tensor, with all other entries at 0."""
        deltas = _weighted(block, weights)
        if self.nothing:
            return deltas.zero_()
        if self.cut is not None:
            deltas.mul_(keep_largest(_variance(deltas), self.cut, block.start).sign_())
        return deltas


def _select(parameter: Parameter, weights: Tensor, select_topk: float) -> _Selection:
    """The entries of largest variance over the experts."""
    if select_topk >= 1.0:
        return _Selection(None, False)
    differing = 0

    def variances() -> Iterator[Tensor]:
        nonlocal differing
        for block in parameter.blocks():
            variance = _variance(_weighted(block, weights))
            differing += int(torch.count_nonzero(variance))
            yield variance

    index = MagnitudeIndex.build(variances())  # not kept for other candidates: their weights change it
    k = int(select_topk * differing)
    return _Selection(index.cut(variances(), k) if k else None, k == 0)


def _energy_ratios(
    parameter: Parameter, weights: Tensor, selection: _Selection, energy_floor: float
) -> tuple[float, ...]:
    """Each expert's mean square among the selected entries, divided by the sum over all experts."""
    energies = torch.zeros(parameter.experts, dtype=torch.float64)
    entries = 0
    for block in parameter.blocks():
        kept = selection.of(block, weights)
        energies += kept.reshape(len(kept), -1).double().square_().sum(1).cpu()
        entries += kept[0].numel()
    mean = energies / entries
    if float(mean.sum()) <= energy_floor:
        return (1.0 / parameter.experts,) * parameter.experts
    return tuple((mean / mean.sum()).tolist())


def _weighted(block: Block, weights: Tensor) -> Tensor:
    deltas = block.experts
    return deltas * weights.to(deltas).view(-1, *(1,) * (deltas.dim() - 1))


def _variance(deltas: Tensor) -> Tensor:
    """Over the experts, shape S: of the population."""
    return torch.var(deltas, dim=0, correction=0)
