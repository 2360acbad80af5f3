"""DARE on core matrices: not the same as DARE on the parameters, but the merge stays a LoRA."""

from __future__ import annotations

import torch
from torch import Tensor

from evomerge.merging.parameters import Density, per_expert
from evomerge.merging.randomness import rounded_density
from evomerge.merging.registry import core_method


@core_method(paper="arXiv:2311.03099; core space: arXiv:2509.17786", draws=True)
def core_dare(cores: Tensor, weights: Tensor, *, uniform: Tensor | None = None, density: Density = 1.0) -> Tensor:
    """DARE in the common singular basis: drop random entries, rescale the rest by 1 / density, add up.

    Args:
        cores: shape (*N, T, R, R).
        weights: shape (T,) or (*N, T).
        uniform: numbers in (0, 1) of the cores' shape; an entry stays where its number is below the density. Not
            needed at density 1.
        density: probability of each entry to stay.

    Returns:
        Merged cores, shape (*N, R, R).
    """
    densities = torch.tensor([rounded_density(d) for d in per_expert(density, cores.shape[-3])], dtype=cores.dtype)
    if (densities < 1.0).any():
        assert uniform is not None, "random masks need random numbers"
        densities = densities.to(cores.device)[:, None, None]
        cores = cores * (uniform < densities) / densities
    return torch.einsum("...t,...trs->...rs", weights.to(cores).expand(cores.shape[:-2]), cores)
