"""TSV-M (arXiv:2412.00081, sec. 3.2) on core matrices."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

import torch
from torch import Tensor

from evomerge.merging.core_matrices import NOTHING, groups_of_experts, singular_triplets
from evomerge.merging.parameters import Range
from evomerge.merging.registry import core_method


@dataclass(frozen=True)
class SingularVectors:
    """Singular triplets of each expert and, for all experts together, their vectors made orthonormal.

    Attributes:
        cores: shape (*N, T, R, R).
        left, right: singular vectors as columns, shape (*N, T, R, k); 0 beyond an expert's rank.
        values: singular values, shape (*N, T, k).
        left_joint, right_joint: the experts' vectors side by side, made orthonormal, shape (*N, R, T k).
    """

    cores: Tensor
    left: Tensor
    right: Tensor
    values: Tensor
    left_joint: Tensor
    right_joint: Tensor

    def flattened(self, dimensions: int) -> SingularVectors:
        """The same with the first so many dimensions as one."""
        parts = (getattr(self, field.name) for field in fields(self))
        return SingularVectors(*(part.reshape(-1, *part.shape[dimensions:]) for part in parts))


def prepare(cores: Tensor) -> SingularVectors:
    """Everything of TSV-M that the weights do not change; cores (*N, T, R, R)."""
    left, values, right = singular_triplets(cores)
    left_joint, right_joint = (nearest_orthonormal(_side_by_side(vectors)) for vectors in (left, right))
    return SingularVectors(cores, left, right, values, left_joint, right_joint)


def orthogonal_parts(state: SingularVectors) -> Tensor:
    """Each expert's core rebuilt from its orthogonalised vectors, (*N, T, R, R): TSV-M adds these up."""
    *batch, experts, size, k = state.left.shape
    left = state.left_joint.reshape(*batch, size, experts, k).movedim(-2, -3)
    right = state.right_joint.reshape(*batch, size, experts, k).movedim(-2, -3)
    parts: Tensor = (left * state.values[..., None, :]) @ right.mT
    return parts


@core_method(
    paper="arXiv:2412.00081; core space: arXiv:2509.17786",
    prepare=prepare,
    # an expert alone is itself: nothing pushes its vectors aside
    parts=lambda state: orthogonal_parts(state) if state.cores.shape[-3] > 1 else state.cores,
)
def core_tsv(state: SingularVectors, weights: Tensor, *, scale: Annotated[float, Range(0.3, 2.0)] = 1.0) -> Tensor:
    """TSV-M: make the experts' singular vectors orthogonal to each other, then add up.

    Experts of weight 0 are not part of the merge, so their vectors push nobody's aside: one expert at
    weight 1 is that expert.

    Args:
        state: from :func:`prepare`, for cores of shape (*N, T, R, R).
        weights: shape (T,) or (*N, T).
        scale: factor on the whole update, alpha in the paper.

    Returns:
        Merged cores, shape (*N, R, R).
    """
    *batch, experts, size, _ = state.cores.shape
    weights = weights.expand(*batch, experts).reshape(-1, experts)
    flat = state.flattened(len(batch))
    merged = torch.zeros(len(weights), size, size, dtype=state.cores.dtype, device=state.cores.device)
    for rows, members in groups_of_experts(weights):
        if len(members) == 1:
            t = int(members)
            merged[rows] = weights[rows, t, None, None] * flat.cores[rows, t]
            continue
        if len(members) == experts:
            left, right = flat.left_joint[rows], flat.right_joint[rows]
        else:
            left = nearest_orthonormal(_side_by_side(flat.left[rows][:, members]))
            right = nearest_orthonormal(_side_by_side(flat.right[rows][:, members]))
        stretched = (flat.values[rows][:, members] * weights[rows][:, members, None]).flatten(-2)
        merged[rows] = (left * stretched[:, None, :]) @ right.mT
    return scale * merged.reshape(*batch, size, size)


def nearest_orthonormal(matrix: Tensor) -> Tensor:
    """Orthogonal polar factor of (*N, R, K); directions that the matrix does not have stay 0."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    directions = values > NOTHING * values[..., :1]
    orthogonal: Tensor = (left * directions[..., None, :]) @ right
    return orthogonal


def _side_by_side(vectors: Tensor) -> Tensor:
    """(*N, T, R, k) -> (*N, R, T k)."""
    return vectors.transpose(-3, -2).flatten(-2)
