from __future__ import annotations

import pytest
import torch

from evomerge.engine.core.compress import compress, shared_subspaces


def cores(count: int = 3, experts: int = 2, size: int = 9) -> torch.Tensor:
    return torch.randn(count, experts, size, size, generator=torch.Generator().manual_seed(1))


def held(all_cores: torch.Tensor, weights: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (weights[..., None, None] * compress(all_cores, left, right)).square().sum(dim=(1, 2, 3))


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_subspaces_are_orthonormal_and_better_than_each_side_alone(rank):
    weights = torch.tensor([[1.0, 0.5], [0.2, 0.9], [0.7, 0.7]])
    left, right = shared_subspaces(cores(), weights, rank)
    for side in (left, right):
        torch.testing.assert_close(side.mT @ side, torch.eye(rank).expand(3, rank, rank), rtol=0, atol=1e-5)
    scaled = cores() * weights[..., None, None]
    alone = [
        torch.linalg.eigh(squares.sum(dim=1)).eigenvectors[..., -rank:]
        for squares in (scaled @ scaled.mT, scaled.mT @ scaled)
    ]
    assert torch.all(held(cores(), weights, left, right) > held(cores(), weights, *alone))


def test_one_expert_gives_its_singular_vectors():
    one = cores(experts=1)
    left, right = shared_subspaces(one, torch.ones(3, 1), 4)
    best = torch.linalg.svdvals(one[:, 0])[:, :4].square().sum(1)
    torch.testing.assert_close(held(one, torch.ones(3, 1), left, right), best, rtol=1e-4, atol=0)


def test_experts_of_the_wanted_rank_together_are_held_whole():
    generator = torch.Generator().manual_seed(2)
    u, v = torch.randn(1, 9, 3, generator=generator), torch.randn(1, 3, 9, generator=generator)
    inner = torch.randn(1, 2, 3, 3, generator=generator)
    whole = u[:, None] @ inner @ v[:, None]
    left, right = shared_subspaces(whole, torch.tensor([[0.3, 1.0]]), 3)
    back = left[:, None] @ compress(whole, left, right) @ right.mT[:, None]
    torch.testing.assert_close(back, whole, rtol=1e-4, atol=1e-4)
