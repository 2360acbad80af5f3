"""Modify the result of any merge method: LiNeS and SVC."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import torch
from torch import Tensor

from evomerge.merging.parameters import Range
from evomerge.registry import Registry


@dataclass(frozen=True)
class Modifier:
    """A change to merged deltas.

    Attributes:
        name, summary, paper: of its function.
        parameters: name -> (range, default).
        function: takes the parameters by keyword.
    """

    name: str
    summary: str
    paper: str
    parameters: Mapping[str, tuple[Range, float]]
    function: Callable[..., Any]


MODIFIERS: Registry[Modifier] = Registry("modifier", "evomerge.merging")


def modifier(*, paper: str) -> Callable[[Callable[..., Any]], Modifier]:
    """Decorator that registers a function as a modifier under its own name; its signature is its schema."""

    def enter(function: Callable[..., Any]) -> Modifier:
        hints, arguments = get_type_hints(function, include_extras=True), inspect.signature(function).parameters
        parameters = {
            name: (get_args(hint)[1], float(arguments[name].default))
            for name, hint in hints.items()
            if get_origin(hint) is Annotated
        }
        summary = (function.__doc__ or "").strip().splitlines()[0]
        return MODIFIERS.register(function.__name__)(Modifier(function.__name__, summary, paper, parameters, function))

    return enter


@modifier(paper="arXiv:2410.17146")
def lines(
    depth: float,
    *,
    alpha: Annotated[float, Range(0.0, 1.5, at_least=0.0)] = 1.0,
    beta: Annotated[float, Range(-1.0, 1.0)] = 0.0,
) -> float:
    """LiNeS: scale the merged delta of each layer by alpha + beta l / (L - 1).

    Args:
        depth: l / (L - 1) of layer l of L; 0 for parameters outside the layers, which get alpha.
        alpha, beta: the defaults change nothing.
    """
    return alpha + beta * depth


@modifier(paper="arXiv:2602.05536")
def svc(
    merged: Tensor,
    experts: Tensor,
    present: Tensor,
    *,
    alpha: Annotated[float, Range(0.1, 1.0, above=0.0)] = 1.0,
) -> Tensor:
    """SVC: shrink singular values of the merged delta that several experts have piled up on one direction.

    With u_r a left singular vector of the merged delta D and a_t = u_r^T D_t: s_t = <u_r^T D, a_t> / ||a_t||^2 says
    how many times the merge has what expert t wants there, and singular value r is multiplied by T / sum of
    max(alpha, s_t). Experts without a part in a direction do not count there.

    Args:
        merged: D, shape (*N, m, n); the same in every orthonormal basis, so cores serve as well.
        experts: D_t, unweighted, shape (*N, T, m, n).
        present: bool (*N, T): experts of weight other than 0.
        alpha: floor of s_t. At 1 values are only ever made smaller; below, directions that the merge has too
            little of grow, by 1 / alpha at most.

    Returns:
        Shape (*N, m, n).
    """
    left, values, _ = torch.linalg.svd(merged, full_matrices=False)
    projected = left.mT[..., None, :, :] @ experts  # (*N, T, r, n)
    rows = left.mT @ merged
    energy = projected.square().sum(-1)
    wants = present[..., None] & (energy > 1e-10 * energy.amax((-1, -2), keepdim=True))
    ratio = (projected * rows[..., None, :, :]).sum(-1) / torch.where(wants, energy, 1.0)
    counted = torch.where(wants, ratio.clamp_min(alpha), 0.0).sum(-2)
    gains = torch.where(counted > 0, wants.sum(-2) / torch.where(counted > 0, counted, 1.0), 1.0)
    directions = values > 1e-6 * values[..., :1]
    calibrated: Tensor = merged + (left * torch.where(directions, gains - 1.0, 0.0)[..., None, :]) @ rows
    return calibrated
