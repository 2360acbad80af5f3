"""DARE on core matrices: another operator than DARE on the parameters, and one that keeps the merge a LoRA."""

from __future__ import annotations

import torch
from torch import Tensor

from evomerge.merging.parameters import Density, per_expert
from evomerge.merging.randomness import share
from evomerge.merging.registry import merge_method


@merge_method(paper="arXiv:2311.03099; core space: arXiv:2509.17786", space="core")
def core_dare(cores: Tensor, weights: Tensor, *, uniform: Tensor | None = None, density: Density = 1.0) -> Tensor:
    """DARE in the shared singular basis: drop random entries, rescale the rest by 1 / density, add up.

    Args:
        cores: shape (*N, T, R, R).
        weights: shape (T,) or (*N, T).
        uniform: numbers in (0, 1) of the cores' shape; an entry stays where its number is below the density. Not
            needed at density 1.
        density: probability of each entry to stay.

    Returns:
        Merged cores, shape (*N, R, R).
    """
    shares = torch.tensor([share(d) for d in per_expert(density, cores.shape[-3])], dtype=cores.dtype)
    if (shares < 1.0).any():
        assert uniform is not None, "random masks need random numbers"
        shares = shares.to(cores.device)[:, None, None]
        cores = cores * (uniform < shares) / shares
    return torch.einsum("...t,...trs->...rs", weights.to(cores).expand(cores.shape[:-2]), cores)
