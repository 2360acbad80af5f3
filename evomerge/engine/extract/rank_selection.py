"""Select singular triplets by the options, for one matrix or for all under a common budget."""

from __future__ import annotations

from collections.abc import Callable

import torch

from evomerge.engine.extract.deltas import Buffers, Deltas
from evomerge.engine.extract.low_rank import Truncated, energy_of, factored_svd, full_svd, randomized_svd
from evomerge.engine.extract.plan import ExtractOptions, Plan
from evomerge.engine.extract.rank_budget import rank_for_energy, spread_budget
from evomerge.engine.threads import in_order
from evomerge.errors import UserError
from evomerge.tensors.lazy import LazyMatrix, LowRank

Progress = Callable[[int, int], None]

_MOST_THREADS = 8  # limit on memory: each thread holds a matrix
_FIRST_RANK = 16  # first rank tried if the spectrum decides; doubled while too small


def threads_for(options: ExtractOptions) -> int:
    """Number of matrices to decompose at once."""
    return min(torch.get_num_threads(), _MOST_THREADS) if options.device == "cpu" else 1


def decompose(matrix: torch.Tensor | LowRank, options: ExtractOptions, rank: int | None) -> Truncated:
    """Triplets of a matrix by the options; ``rank`` is the matrix's rank from the common budget, if there is one."""
    if isinstance(matrix, LowRank):
        found = factored_svd(matrix)
    elif options.svd == "full":
        found = full_svd(matrix)
    elif rank is None and options.energy is not None:
        found = _up_to_energy(matrix, options.energy, options.settings.max_rank)
    else:
        found = randomized_svd(matrix, options.rank if rank is None else rank) if rank != 0 else _none(matrix)
    if rank is None and options.energy is not None:
        rank = rank_for_energy(found.values.tolist(), found.energy, options.energy) or found.rank
        rank = min(rank, options.settings.max_rank or rank)
    rank = options.rank if rank is None else rank
    # drop directions of rounding noise, and those not above sv_epsilon
    floor = max(options.settings.sv_epsilon, 1e-7 * found.energy**0.5)
    return found.first(min(rank, int((found.values > floor).sum())))


def _up_to_energy(matrix: torch.Tensor, share: float, most: int | None) -> Truncated:
    """Triplets that hold at least this fraction of the energy."""
    rank, limit = _FIRST_RANK, min(*matrix.shape, most or min(matrix.shape))
    while True:
        found = randomized_svd(matrix, min(rank, limit))
        if rank >= limit or rank_for_energy(found.values.tolist(), found.energy, share) is not None:
            return found
        rank *= 2


def spread_over_layers(
    deltas: Deltas, plan: Plan, options: ExtractOptions, progress: Progress | None
) -> dict[str, int]:
    """Ranks by the common budget, from a first pass over the matrices that computes singular values only."""
    assert options.parameters is not None
    names = [n for n in deltas.names if plan.route(n) in ("linear", "embedding")]
    costs = {name: sum(deltas.base.shape(name)) for name in names}
    highest = options.settings.max_rank or 1 << 30
    most = {n: min(*deltas.base.shape(n), options.parameters // costs[n], highest) for n in names}
    spectra: dict[str, list[float]] = {}
    buffers = Buffers()
    rank = max(_FIRST_RANK, 4 * options.parameters // max(1, sum(costs.values())))
    short = [name for name in names if most[name]]
    if names and not short:
        raise UserError(
            f"parameters={options.parameters} buys nothing: one direction costs {min(costs.values())} at least"
        )
    while short:

        def spectrum(named: tuple[str, LazyMatrix], rank: int = rank) -> list[float]:
            return _spectrum(named[1], min(rank, most[named[0]]), options, buffers)

        found = in_order(spectrum, deltas.read(short), threads_for(options))
        for number, ((name, _), values) in enumerate(found, start=1):
            spectra[name] = values
            if progress is not None:
                progress(number, len(short))
        ranks = spread_budget(spectra, costs, options.parameters)
        # the budget takes every direction computed for these matrices: compute more of them
        short = [n for n in short if n in ranks and ranks[n] == len(spectra[n]) == min(rank, most[n]) < most[n]]
        rank *= 2
    return dict.fromkeys(names, 0) | ranks


def _spectrum(change: LazyMatrix, rank: int, options: ExtractOptions, buffers: Buffers) -> list[float]:
    if isinstance(change, LowRank):
        values = factored_svd(change).values
    else:
        matrix = buffers.dense(change).to(options.device)
        values = (full_svd(matrix) if options.svd == "full" else randomized_svd(matrix, rank)).values
    return [float(value) for value in values[:rank] if value > options.settings.sv_epsilon]


def _none(matrix: torch.Tensor) -> Truncated:
    energy = energy_of(matrix)
    return Truncated(matrix[:, :0], matrix[0, :0], matrix.mT[:, :0], energy, energy)
