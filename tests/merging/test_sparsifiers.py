"""Sparsifiers on examples computed by hand, their norms, and the statistics of random masks."""

from __future__ import annotations

import itertools

import pytest
import torch

from evomerge.merging import METHODS, InMemoryParameter, Randomness
from evomerge.merging.sparsify import by_magnitude, keep_by_rank, without_outliers

BASE = torch.zeros(10)
DELTA = torch.tensor([[1.0, -2.0, 3.0, -4.0, 5.0, -6.0, 7.0, -8.0, 9.0, -10.0]])
RANDOM = ("dare_linear", "dare_ties", "della_linear", "della")


def merged(name: str, delta: torch.Tensor = DELTA, seed: int = 0, **values) -> torch.Tensor:
    """One expert at weight 1 on a base of zeros: the sparsified delta itself."""
    randomness = Randomness(seed, ("sql",), "w")
    return METHODS[name](torch.zeros_like(delta[0]), delta, torch.ones(1), randomness=randomness, **values)


@pytest.mark.parametrize("name", ["breadcrumbs", "breadcrumbs_ties"])
@pytest.mark.parametrize(
    ("density", "gamma", "kept"),
    [
        (0.5, 0.2, [4, 5, 6, 7, 8]),  # two outliers and three small ones go
        (0.5, 0.0, [6, 7, 8, 9, 10]),
        (0.5, 0.19, [5, 6, 7, 8, 9]),  # int(1.9)
        (0.9, 0.3, [1, 2, 3, 4, 5, 6, 7, 8, 9]),  # fewer outliers, so that nine stay
        (0.5, 1.0, [1, 2, 3, 4, 5]),
        (0.09, 0.1, []),  # int(0.9)
        (1.0, 0.3, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
    ],
)
def test_breadcrumbs_worked_examples(name, density, gamma, kept):
    found = merged(name, density=[density], gamma=[gamma])
    assert found[found != 0].abs().tolist() == kept
    assert torch.equal(found[found != 0], DELTA[0][found != 0])


def test_breadcrumbs_of_equal_entries_goes_by_position():
    """Of equal magnitudes those that come first count as larger: as in TIES."""
    delta = torch.tensor([[2.0, -1.0, 2.0, 1.0, -2.0, 1.0, 1.0, 0.0]])
    assert merged("breadcrumbs", delta, density=[0.5], gamma=[0.25]).tolist() == [0, -1, 0, 1, -2, 1, 0, 0]
    rows = delta.view(1, 4, 2)
    parameter = InMemoryParameter(None, rows, rows=1)
    sparsifier = without_outliers(parameter, torch.ones(1), [0.5], [0.25], "none")
    found = torch.cat([sparsifier.keep(block, 0) for block in parameter.blocks()])
    assert found.flatten().tolist() == [0, -1, 0, 1, -2, 1, 0, 0]


def test_rescale_by_hand():
    """Density 0.5 keeps 6 to 10: the L1 norm falls from 55 to 40."""
    plain = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, -6.0, 7.0, -8.0, 9.0, -10.0])
    for rescale, factor in (("none", 1.0), ("density", 2.0), ("l1", 55 / 40)):
        torch.testing.assert_close(merged("ties", density=[0.5], rescale=rescale), factor * plain)


def test_l1_rescale_leaves_negligible_deltas_and_whole_ones():
    for name in ("ties", "breadcrumbs", "dare_linear", "della_linear"):
        tiny = merged(name, DELTA * 1e-9, density=[0.5], rescale="l1")
        assert torch.isin(tiny, torch.cat([torch.zeros(1), DELTA[0] * 1e-9])).all()
        assert torch.equal(merged(name, rescale="l1"), DELTA[0])


def test_experts_of_weight_zero_are_not_measured():
    """No index of a delta that does not take part: its entries may even be damaged."""
    deltas = torch.stack([DELTA[0], torch.full((10,), torch.inf)])
    sparsifier = by_magnitude(InMemoryParameter(BASE, deltas), torch.tensor([1.0, 0.0]), [0.5, 0.5], "l1")
    assert sparsifier.factors == (55 / 40, 1.0)


@pytest.mark.parametrize("name", RANDOM)
def test_mean_over_seeds_is_the_delta(name):
    delta = torch.linspace(-3.0, 3.0, 60).view(1, 3, 20)
    found = torch.stack([merged(name, delta, seed, density=[0.4]) for seed in range(1500)])
    share = (found != 0).double().mean(0)
    # standard error of a mean of d m / p over so many seeds, m being 1 with probability p
    noise = delta[0].abs().double() * ((1 - share) / share / 1500).sqrt()
    assert ((found.double().mean(0) - delta[0]).abs() <= 5 * noise).all()
    assert abs(share.mean().item() - 0.4) < 0.02


@pytest.mark.parametrize("name", RANDOM)
def test_l1_rescale_restores_the_norm(name):
    delta = torch.randn(1, 30, 20, generator=torch.Generator().manual_seed(1))
    for seed in range(5):
        found = merged(name, delta, seed, density=[0.3], rescale="l1")
        torch.testing.assert_close(found.abs().sum(), delta.abs().sum())


@pytest.mark.parametrize("name", RANDOM)
def test_masks_are_nested_over_densities(name):
    delta = torch.randn(1, 30, 20, generator=torch.Generator().manual_seed(1))
    kept = [merged(name, delta, density=[d]) != 0 for d in (0.02, 0.1, 0.2, 0.5, 0.8, 0.9, 0.97, 1.0)]
    assert all(bool((small <= large).all()) for small, large in itertools.pairwise(kept))
    assert kept[-1].all() and not kept[3].all()


def test_della_keeps_by_rank_within_the_row():
    """Probability 0.5 - 0.3 for the smallest of a row to 0.5 + 0.3 for the largest, evenly; every row for itself."""
    rows = torch.tensor([[1.0, -4.0, 2.0, -3.0, 5.0], [0.01, 0.05, -0.02, 0.04, 0.03]])
    delta = rows.repeat_interleave(4000, 0)
    kept = keep_by_rank(delta, 0.5, 0.3, Randomness(0, ("sql",), "w"), 0, divide=False) != 0
    expected = torch.tensor([[0.2, 0.65, 0.35, 0.5, 0.8], [0.2, 0.8, 0.35, 0.65, 0.5]])
    assert (kept.view(2, 4000, 5).float().mean(1) - expected).abs().max() < 4 * (0.25 / 4000) ** 0.5
    divided = keep_by_rank(delta, 0.5, 0.3, Randomness(0, ("sql",), "w"), 0, divide=True)
    wanted = (rows / expected).repeat_interleave(4000, 0)
    torch.testing.assert_close(divided[kept], wanted[kept], rtol=1e-4, atol=0.0)


def test_della_narrows_epsilon_where_probabilities_would_leave_the_unit_interval():
    delta = torch.arange(1.0, 6.0).repeat(8000, 1)
    for density, lowest, highest in ((0.9, 0.8, 1.0), (0.05, 0.0, 0.1), (0.5, 0.2, 0.8)):
        kept = keep_by_rank(delta, density, 0.3, Randomness(0, ("sql",), "w"), 0, divide=True)
        shares = (kept != 0).double().mean(0)
        assert abs(shares[0] - lowest) < 0.02 and abs(shares[-1] - highest) < 0.02 and kept.isfinite().all()


def test_della_of_conv_weights_vectors_and_single_entries():
    randomness = Randomness(0, ("sql",), "w")
    conv = torch.randn(6, 50, 3, generator=torch.Generator().manual_seed(0))
    kept = keep_by_rank(conv, 0.5, 0.5, randomness, 0, divide=False)
    order = conv.abs().argsort(1)
    assert kept.gather(1, order)[:, 0].count_nonzero() == 0  # the smallest along dimension 1 has probability 0
    assert (kept.gather(1, order)[:, -1] != 0).all()
    vector = keep_by_rank(conv[0, :, 0], 0.5, 0.5, randomness, 0, divide=False)
    assert vector.shape == (50,) and vector[conv[0, :, 0].abs().argmax()] != 0
    single = [merged("della", torch.ones(1, 1), seed, density=[0.5]).item() for seed in range(400)]
    assert set(single) == {0.0, 2.0} and 150 < single.count(2.0) < 250


@pytest.mark.parametrize("shape", [(4, 30), (3, 20, 2), (1, 7)])
def test_della_ranks_of_equal_magnitudes_go_by_position_in_both_precisions(shape):
    delta = torch.randint(-3, 4, shape, generator=torch.Generator().manual_seed(0)).float()
    arguments = (0.5, 0.4, Randomness(0, ("sql",), "w"), 0, False)
    found = keep_by_rank(delta, *arguments)
    assert torch.equal(found.double(), keep_by_rank(delta.double(), *arguments))
