"""Merge methods on worked examples, and against independent implementations."""

from __future__ import annotations

import pytest
import torch

from evomerge.errors import UserError
from evomerge.merging import METHODS, Randomness
from evomerge.merging.sign_election import agreeing_mean

RANDOMNESS = Randomness(0, ("a", "b", "c"), "w")


def merge(name: str, base, deltas, weights, **values) -> torch.Tensor:
    method = METHODS[name]
    experts = deltas if method.inputs == "deltas" else base + deltas
    return method(base, experts, torch.tensor(weights), randomness=RANDOMNESS, **values)


def test_ties_worked_example():
    """By hand: density 0.5 keeps two of four entries each; then a sign is elected, its carriers averaged."""
    base = torch.tensor([10.0, 10.0, 10.0, 10.0])
    deltas = torch.tensor([[4.0, -3.0, 1.0, 0.5], [2.0, 0.1, -5.0, 0.2], [-1.0, 7.0, 0.3, -0.4]])
    merged = merge("ties", base, deltas, [1.0, 1.0, 1.0], density=(0.5, 0.5, 0.5))
    # kept: [4, -3, 0, 0], [2, 0, -5, 0], [-1, 7, 0, 0]; sums 5, 4, -5, 0
    assert merged.tolist() == [13.0, 17.0, 5.0, 10.0]


def mean(deltas: torch.Tensor, weights: list[float], average: str = "count") -> torch.Tensor:
    return agreeing_mean(torch.stack([w * d for w, d in zip(weights, deltas, strict=True)]), weights, average)


def test_ties_weights_and_opposite_signs():
    deltas = torch.tensor([[1.0, 1.0, 2.0, 0.0], [-1.0, 3.0, -2.0, 0.0]])
    # votes [0.5, 0.5, 1, 0] and [-1, 3, -2, 0]; entry 3 is 0 in both
    assert mean(deltas, [0.5, 1.0]).tolist() == [-1.0, 1.75, -2.0, 0.0]
    assert mean(deltas, [0.5, 1.0], "sum").tolist() == [-1.0, 3.5, -2.0, 0.0]
    torch.testing.assert_close(mean(deltas, [0.5, 1.0], "weight"), torch.tensor([-1.0, 3.5 / 1.5, -2.0, 0.0]))
    # votes of opposite experts: [0.5, 0.5, 1, 0] and [1, -3, 2, 0]; the weights of those who agree may sum to 0
    torch.testing.assert_close(mean(deltas, [0.5, -1.0], "weight"), torch.tensor([-3.0, 3.0, -6.0, 0.0]))
    assert mean(deltas, [1.0, -1.0], "weight").tolist() == [2.0, 3.0, 4.0, 0.0]
    # a tie of the votes elects no sign, in mergekit's averages +
    assert mean(deltas, [1.0, 1.0]).tolist() == [0.0, 2.0, 0.0, 0.0]
    assert mean(deltas, [1.0, 1.0], "sum").tolist() == [1.0, 4.0, 2.0, 0.0]
    assert mean(deltas, [1.0, 1.0], "weight").tolist() == [1.0, 2.0, 2.0, 0.0]


@pytest.mark.parametrize("size", [1, 100, (1 << 15) - 1, 1 << 15, (1 << 15) + 1, 100_000])
def test_agreeing_mean_against_the_plain_formula_at_block_borders(size):
    generator = torch.Generator().manual_seed(size)
    deltas = torch.randn(3, size, generator=generator) * (torch.rand(3, size, generator=generator) < 0.6)
    weights = torch.tensor([0.3, 1.0, -0.5])
    votes = deltas * weights[:, None]
    agree = (votes.sign() == votes.sum(0).sign()) & (votes != 0)
    expected = (votes * agree).sum(0) / agree.sum(0).clamp_min(1)
    torch.testing.assert_close(mean(deltas, weights.tolist()), expected)


def test_linear_is_the_weighted_average_of_the_parameters():
    generator = torch.Generator().manual_seed(0)
    base, deltas = torch.randn(4, 6, generator=generator), torch.randn(2, 4, 6, generator=generator)
    expected = (0.2 * (base + deltas[0]) + 0.6 * (base + deltas[1])) / 0.8
    torch.testing.assert_close(merge("linear", base, deltas, [0.2, 0.6]), expected)


@pytest.mark.parametrize("name", ["linear", "slerp"])
def test_weights_that_cancel_are_refused(name):
    with pytest.raises(UserError, match=f"{name} divides by the sum of the weights.*use task_arithmetic"):
        merge(name, torch.ones(4), torch.ones(2, 4), [0.5, -0.5])


def test_slerp_worked_example():
    """Half way between the unit vectors x and y lies the diagonal of length 1."""
    base, deltas = torch.zeros(2), torch.eye(2)
    torch.testing.assert_close(merge("slerp", base, deltas, [1.0, 1.0]), torch.full((2,), 0.5**0.5))
    third = merge("slerp", base, deltas, [2.0, 1.0])
    torch.testing.assert_close(third, torch.tensor([3**0.5 / 2, 0.5]))


def test_slerp_of_nearly_parallel_parameters_is_the_straight_line():
    base, deltas = torch.ones(50), 1e-3 * torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(merge("slerp", base, deltas, [1.0, 3.0]), base + 0.25 * deltas[0] + 0.75 * deltas[1])


def test_slerp_of_zeros_is_zero():
    assert torch.equal(merge("slerp", torch.zeros(3), torch.zeros(2, 3), [1.0, 1.0]), torch.zeros(3))


def test_dare_at_full_density_is_task_arithmetic_and_dare_ties_is_ties():
    generator = torch.Generator().manual_seed(0)
    base, deltas = torch.randn(9, 8, generator=generator), torch.randn(3, 9, 8, generator=generator)
    weights = [0.2, 0.5, 0.9]
    torch.testing.assert_close(
        merge("dare_linear", base, deltas, weights), merge("task_arithmetic", base, deltas, weights)
    )
    assert torch.equal(merge("dare_ties", base, deltas, weights), merge("ties", base, deltas, weights))


def factors(ranks: tuple[int, ...], m: int, n: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(11)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return [(draw(m, rank), draw(rank, n)) for rank in ranks]


def core_space(pairs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U (m, R), V (n, R) and the cores (T, R, R) of LoRA pairs (arXiv:2509.17786), padded to one R."""
    u = torch.linalg.svd(torch.cat([b for b, _ in pairs], 1), full_matrices=False)[0]
    v = torch.linalg.svd(torch.cat([a for _, a in pairs], 0), full_matrices=False)[2].T
    return u, v, torch.stack([u.T @ b @ (a @ v) for b, a in pairs])


def tsv_m_in_full_space(pairs, weights, scale: float) -> torch.Tensor:
    """TSV-M as the paper's algorithm 1 says, on the dense deltas; k_t is the adapter's rank."""
    lefts, values, rights = [], [], []
    for (b, a), weight in zip(pairs, weights, strict=True):
        left, value, right = torch.linalg.svd(b @ a, full_matrices=False)
        rank = b.shape[1]
        lefts.append(left[:, :rank])
        values.append(weight * value[:rank])
        rights.append(right[:rank])
    p, _, q = torch.linalg.svd(torch.cat(lefts, 1), full_matrices=False)
    x, _, y = torch.linalg.svd(torch.cat(rights, 0), full_matrices=False)
    return scale * (p @ q) @ torch.diag(torch.cat(values)) @ (x @ y)


@pytest.mark.parametrize("ranks", [(8, 8, 8), (2, 8, 5), (4, 4), (3,)])
@pytest.mark.parametrize("shape", [(96, 64), (64, 160), (64, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_core_methods_equal_their_full_space_twins(ranks, shape, dtype):
    pairs = factors(ranks, *shape)
    weights = [0.7, 0.4, 1.2][: len(ranks)]
    u, v, cores = core_space(pairs)
    cores, weight_tensor = cores.to(dtype), torch.tensor(weights, dtype=dtype)

    def full(name: str, **values) -> torch.Tensor:
        method = METHODS[name]
        return u @ method(method.prepare(cores), weight_tensor, **values).double() @ v.T

    summed = sum(w * (b @ a) for w, (b, a) in zip(weights, pairs, strict=True))
    assert (full("core_task_arithmetic") - summed).norm() / summed.norm() < 1e-5
    expected = tsv_m_in_full_space(pairs, weights, 0.8)
    assert (full("core_tsv", scale=0.8) - expected).norm() / expected.norm() < 1e-5


def test_core_tsv_leaves_experts_of_weight_zero_out():
    pairs = factors((4, 4, 4), 40, 30)
    u, v, cores = core_space(pairs)
    method = METHODS["core_tsv"]
    merged = method(method.prepare(cores), torch.tensor([0.7, 0.0, 0.5], dtype=torch.float64))
    expected = tsv_m_in_full_space([pairs[0], pairs[2]], [0.7, 0.5], 1.0)
    torch.testing.assert_close(u @ merged @ v.T, expected)


def test_core_tsv_with_overlapping_experts_is_finite_and_within_their_span():
    """Two equal experts: the concatenated vectors have half the rank, and the missing directions stay empty."""
    _, _, cores = core_space(factors((4, 4), 40, 30))
    twins = torch.stack([cores[0], cores[0]]).float()
    method = METHODS["core_tsv"]
    merged = method(method.prepare(twins), torch.tensor([0.5, 0.5]))
    # each copy's vectors become u / sqrt(2), so together they give half of the weighted sum
    torch.testing.assert_close(merged, 0.5 * twins[0], rtol=1e-4, atol=1e-4)


def test_core_tsv_of_zero_cores_is_zero():
    method = METHODS["core_tsv"]
    assert torch.count_nonzero(method(method.prepare(torch.zeros(2, 3, 6, 6)), torch.ones(3))) == 0
