from __future__ import annotations

import pytest
import torch

from evomerge.engine.extract.low_rank import energy_of, factored_svd, full_svd, randomized_svd, with_row_means
from evomerge.tensors.lazy import LowRank


def with_spectrum(values: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    u = torch.linalg.qr(torch.randn(rows, len(values), generator=generator)).Q
    v = torch.linalg.qr(torch.randn(columns, len(values), generator=generator)).Q
    return u * values @ v.T


def fine_tuned(rows: int, columns: int, noise: float) -> torch.Tensor:
    """A low-rank change, and the noise of training and bfloat16 rounding over it."""
    generator = torch.Generator().manual_seed(4)
    change = torch.randn(rows, 16, generator=generator) @ torch.randn(16, columns, generator=generator)
    return change + noise * change.std() * torch.randn(rows, columns, generator=generator)


INDEX = torch.arange(1, 257).float()
MATRICES = {
    "noise": torch.randn(256, 640, generator=torch.Generator().manual_seed(5)),
    "low rank, little noise": fine_tuned(256, 640, 0.05),
    "low rank, much noise": fine_tuned(640, 256, 0.5),
    "slow decay": with_spectrum(INDEX**-0.5, 256, 640),
    "decay": with_spectrum(1 / INDEX, 640, 256),
    "fast decay": with_spectrum(INDEX**-2, 256, 640),
    "exponential": with_spectrum(torch.exp(-INDEX / 20), 256, 640),
    "next to nothing left": with_spectrum(torch.exp(-INDEX / 8), 256, 640),
    "low rank, faint rest": with_spectrum(torch.where(INDEX <= 40, INDEX**-0.5, 1e-4), 256, 640),
}


@pytest.mark.parametrize("rank", [1, 4, 16, 24, 32, 64])
@pytest.mark.parametrize("name", MATRICES)
def test_the_error_is_within_one_percent_of_the_best(name, rank):
    matrix = MATRICES[name]
    found = randomized_svd(matrix, rank)
    assert found.rank == rank
    factor = found.factors()
    lost = float((matrix.double() - factor.left.double() @ factor.right.double()).square().sum())
    best = float(torch.linalg.svdvals(matrix.double())[rank:].square().sum())
    assert lost**0.5 <= 1.01 * best**0.5
    assert found.lost == pytest.approx(lost, rel=1e-2)  # what it says of itself
    assert found.energy == pytest.approx(energy_of(matrix), rel=1e-6)
    for side in (found.u, found.v):
        torch.testing.assert_close(side.T @ side, torch.eye(rank), rtol=0, atol=1e-3)


def test_repeats_bit_by_bit_whatever_the_global_seed():
    torch.manual_seed(1)
    one = randomized_svd(MATRICES["noise"], 8)
    torch.manual_seed(2)
    two = randomized_svd(MATRICES["noise"], 8)
    assert torch.equal(one.u, two.u) and torch.equal(one.values, two.values)


def test_a_matrix_of_lower_rank_is_held_whole():
    matrix = fine_tuned(300, 500, 0.0)
    found = randomized_svd(matrix, 24)
    torch.testing.assert_close(found.factors().dense(), matrix, rtol=1e-4, atol=1e-3)
    assert found.lost <= 1e-9 * found.energy
    assert randomized_svd(torch.zeros(300, 200), 4).rank == 0


def test_factors_give_the_same_triplets_as_the_matrix():
    generator = torch.Generator().manual_seed(6)
    factor = LowRank(torch.randn(50, 6, generator=generator), torch.randn(6, 70, generator=generator))
    found, whole = factored_svd(factor), full_svd(factor.dense())
    torch.testing.assert_close(found.values, whole.values[:6], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.factors().dense(), factor.dense(), rtol=1e-4, atol=1e-4)
    cut = found.first(4)
    assert cut.lost == pytest.approx(float(whole.values[4:].square().sum()), rel=1e-3)
    one_sided = cut.factors(distribute=False)
    torch.testing.assert_close(one_sided.left.T @ one_sided.left, torch.eye(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(one_sided.dense(), cut.factors().dense(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("factored", [False, True])
def test_row_means_are_kept_and_the_error_known(factored):
    generator = torch.Generator().manual_seed(7)
    factor = LowRank(torch.randn(30, 12, generator=generator), 0.5 + torch.randn(12, 50, generator=generator))
    matrix = factor if factored else factor.dense()
    found = full_svd(factor.dense()).first(5)
    both, lost = with_row_means(matrix, found)
    assert both.rank == 6
    rest = factor.dense() - both.dense()
    assert rest.mean(dim=1).abs().max() < 1e-5
    assert (factor.dense() - found.factors().dense()).mean(dim=1).abs().max() > 0.1
    assert lost == pytest.approx(energy_of(rest), rel=1e-3)
    assert lost < found.lost
