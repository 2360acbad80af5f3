"""Core-space methods equal their definition in full space, on dense deltas, in float64."""

from __future__ import annotations

import pytest
import torch

from evomerge.merging import METHODS
from evomerge.merging.methods.core_ties import Ranked

SHAPES = [(40, 30), (30, 64), (12, 50)]  # the last is narrower than the ranks together: padded cores
RANKS = [(8, 8, 8), (2, 8, 5), (4, 6), (3,)]


def deltas_of(ranks, m: int, n: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(sum(ranks) + m)
    pairs = [(torch.randn(m, r, generator=generator), torch.randn(r, n, generator=generator)) for r in ranks]
    return [b.double() @ a.double() for b, a in pairs]


def basis_and_cores(deltas, size: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Shared bases, padded with zero columns to ``size``, and the experts in them."""
    u = torch.linalg.svd(torch.cat(deltas, 1), full_matrices=False)[0][:, :size]
    v = torch.linalg.svd(torch.cat(deltas, 0), full_matrices=False)[2][:size].T
    u, v = (torch.nn.functional.pad(side, (0, size - side.shape[1])) for side in (u, v))
    return u, v, torch.stack([u.T @ delta @ v for delta in deltas])


def in_core(name: str, deltas, size: int, weights, **values) -> torch.Tensor:
    u, v, cores = basis_and_cores(deltas, size)
    method = METHODS[name]
    return u @ method(method.prepare(cores), torch.tensor(weights, dtype=torch.float64), **values) @ v.T


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def triplets(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    u, values, vh = torch.linalg.svd(matrix, full_matrices=False)
    rank = int((values > 1e-9 * values[0]).sum())
    return u[:, :rank], values[:rank], vh[:rank].T


def polar(matrix: torch.Tensor) -> torch.Tensor:
    u, _, v = triplets(matrix)
    return u @ v.T


def iso_in_full_space(deltas, weights, flatten: float, common: float, scale: float) -> torch.Tensor:
    """arXiv:2502.04959, algorithms 1 and 2, over the numerical rank."""
    scaled = [w * d for w, d in zip(weights, deltas, strict=True) if w != 0]
    if len(scaled) == 1:
        return scale * scaled[0]
    u, values, v = triplets(sum(scaled))
    rank = len(values)
    own = min(round((rank - int(common * rank)) / len(scaled)), rank // len(scaled))
    kept = rank - own * len(scaled)
    us, sigmas, vs = [u[:, :kept]], [values[:kept]], [v[:, :kept]]
    for delta in scaled if own else ():
        beside = triplets(delta - us[0] @ us[0].T @ delta)
        us.append(beside[0][:, :own])
        sigmas.append(beside[1][:own])
        vs.append(beside[2][:, :own])
    u, values, v = polar(torch.cat(us, 1)), torch.cat(sigmas), polar(torch.cat(vs, 1))
    values = (1 - flatten) * values + flatten * values.mean()
    return scale * u @ torch.diag(values) @ v.T


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("flatten", "common"), [(1.0, 1.0), (0.3, 1.0), (1.0, 0.8), (0.6, 0.5), (1.0, 0.0)])
def test_core_iso_is_isotropic_merging_over_the_numerical_rank(ranks, shape, flatten, common):
    deltas, weights = deltas_of(ranks, *shape), [0.7, 0.4, 1.2][: len(ranks)]
    found = in_core("core_iso", deltas, sum(ranks) + 2, weights, flatten=flatten, common=common, scale=0.9)
    assert relative(found, iso_in_full_space(deltas, weights, flatten, common, 0.9)) < 1e-6


def test_core_iso_keeps_the_nuclear_norm_and_flattens_it_over_the_rank():
    deltas = deltas_of((4, 4), 40, 30)
    found = in_core("core_iso", deltas, 20, [1.0, 1.0])
    values = torch.linalg.svdvals(found)
    expected = torch.linalg.svdvals(deltas[0] + deltas[1])
    torch.testing.assert_close(values[:8], torch.full((8,), float(expected.sum()) / 8, dtype=torch.float64))
    assert values[8:].max() < 1e-6
    # without flattening Iso-C is the sum
    assert relative(in_core("core_iso", deltas, 20, [1.0, 1.0], flatten=0.0), deltas[0] + deltas[1]) < 1e-7


def test_core_iso_ranks_may_differ_within_a_batch():
    """One parameter has rank 12, another 5, a third nothing at all: each is merged as if it were alone."""
    method = METHODS["core_iso"]
    stack = torch.zeros(3, 3, 12, 12)
    for n, ranks in enumerate([(4, 4, 4), (1, 4)]):
        stack[n, : len(ranks)] = basis_and_cores(deltas_of(ranks, 40, 30), 12)[2]
    weights = torch.tensor([0.7, 0.4, 1.2])
    for values in ({}, {"common": 0.6}):
        together = method(method.prepare(stack), weights, **values)
        for n in range(3):
            alone = method(method.prepare(stack[n]), weights, **values)
            torch.testing.assert_close(together[n], alone, rtol=1e-4, atol=1e-4)
        assert torch.count_nonzero(together[2]) == 0 and together.isfinite().all()


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ridge", [1e-3, 0.1, 3.0])
def test_core_wudi_is_the_least_squares_solution_in_full_space(ranks, shape, ridge):
    deltas, weights = deltas_of(ranks, *shape), [0.7, 0.4, 1.2][: len(ranks)]
    # rows of one tall system: (D - w D_t) D_t^T / ||D_t|| and sqrt(ridge) (D - sum), for D^T as the unknown
    tall = [delta / delta.norm() for delta in deltas]
    wanted = [w * delta @ (delta / delta.norm()).T for w, delta in zip(weights, deltas, strict=True)]
    summed = sum(w * delta for w, delta in zip(weights, deltas, strict=True))
    tall.append(ridge**0.5 * torch.eye(shape[1], dtype=torch.float64))
    wanted.append(ridge**0.5 * summed)
    expected = torch.linalg.lstsq(torch.cat(tall, 0), torch.cat(wanted, 1).T).solution.T
    assert relative(in_core("core_wudi", deltas, sum(ranks), weights, ridge=ridge), expected) < 1e-8


def test_core_wudi_lowers_the_papers_loss_and_leaves_experts_of_weight_zero_out():
    deltas = deltas_of((8, 8, 8), 40, 30)

    def loss(merged: torch.Tensor) -> float:
        return sum(float(((merged - d) @ d.T).square().sum() / d.square().sum()) for d in deltas)

    found = in_core("core_wudi", deltas, 24, [1.0, 1.0, 1.0], ridge=1e-9)
    assert loss(found) < 1e-9 * loss(sum(deltas))
    without = in_core("core_wudi", deltas, 24, [1.0, 0.0, 0.5])
    assert relative(without, in_core("core_wudi", [deltas[0], deltas[2]], 24, [1.0, 0.5])) < 1e-9


def test_core_ties_is_ties_on_the_core_entries():
    cores = torch.randn(3, 15, 15, generator=torch.Generator().manual_seed(0))
    method, weights = METHODS["core_ties"], torch.tensor([0.7, -0.2, 0.4])
    density = (0.3, 0.5, 1.0)
    expected = METHODS["ties"](torch.zeros(15, 15), cores, weights, density=density)
    torch.testing.assert_close(method(method.prepare(cores), weights, density=density), expected)


def test_core_ties_counts_no_padding():
    """Half of three rows and two columns is three entries, however many empty ones lie around them."""
    cores = torch.zeros(1, 6, 6)
    cores[0, :3, :2] = torch.tensor([[6.0, 1.0], [-5.0, 2.0], [3.0, 4.0]])
    state = METHODS["core_ties"].prepare(cores)
    assert isinstance(state, Ranked) and int(state.entries) == 6
    merged = METHODS["core_ties"](state, torch.ones(1), density=0.5)
    assert merged[:3, :2].tolist() == [[6.0, 0.0], [-5.0, 0.0], [0.0, 4.0]]


def test_core_dare_keeps_the_mean_and_its_masks_are_nested():
    cores, uniform = torch.ones(2, 200, 200), torch.rand(2, 200, 200, generator=torch.Generator().manual_seed(0))
    weights, method = torch.tensor([1.0, 0.5]), METHODS["core_dare"]
    merged = method(cores, weights, uniform=uniform, density=(0.25, 0.5))
    assert abs(float(merged.mean()) - 1.5) < 0.03
    alone = torch.tensor([1.0, 0.0])
    few, many = (method(cores, alone, uniform=uniform, density=(d, 1.0)) != 0 for d in (0.25, 0.5))
    assert bool((many | ~few).all()) and 0.24 < float(few.float().mean()) < 0.26
    assert torch.equal(method(cores, weights), torch.full((200, 200), 1.5))
