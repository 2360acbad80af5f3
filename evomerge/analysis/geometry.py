"""Measure the experts' task vectors layer by layer: their norms, and how much they overlap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import pandas as pd
import torch

from evomerge.engine.merger import Merger
from evomerge.tensors.lazy import dense
from evomerge.weights.parameter_names import layer_index
from evomerge.weights.task_vector import TaskVector


def layer_norms(merger: Merger) -> pd.DataFrame:
    """Frobenius norm of each expert's task vector in each layer: index ``layer``, a column per expert.

    Parameters outside the layers (embeddings, the final norm) are left out, here and in :func:`layer_overlaps`.
    """
    norms = {expert: _norms(vector, merger.layers) for expert, vector in merger.experts.items()}
    return pd.DataFrame(norms).rename_axis("layer")


def layer_overlaps(merger: Merger) -> pd.DataFrame:
    """How much each pair of experts overlaps in each layer.

    Returns:
        One row per pair and layer, with columns ``pair``, ``layer``; ``cosine`` of the two task vectors; and, if
        both are low-rank, ``reads`` and ``writes``: the share, in [0, 1], of the smaller one's input and output
        directions that lie in the other's, mean over the layer's parameters; ``chance`` is what ``reads`` is expected
        to be for random directions.
    """
    rows = []
    norms = {expert: _norms(vector, merger.layers) for expert, vector in merger.experts.items()}
    for (first, a), (second, b) in itertools.combinations(merger.experts.items(), 2):
        inner = dict.fromkeys(range(merger.layers), 0.0)
        shared: dict[int, list[tuple[float, float, float]]] = {layer: [] for layer in inner}
        for layer, name in _in_layers(a):
            if name in b.names:
                inner[layer] += _inner(a, b, name)
                shared[layer] += _subspaces(a, b, name)
        for layer, value in inner.items():
            product = norms[first][layer] * norms[second][layer]
            means = [sum(column) / len(column) for column in zip(*shared[layer], strict=True)] or [math.nan] * 3
            row = {"pair": f"{first} and {second}", "layer": layer, "cosine": value / product if product else math.nan}
            rows.append(row | dict(zip(("reads", "writes", "chance"), means, strict=True)))
    return pd.DataFrame(rows, columns=["pair", "layer", "cosine", "reads", "writes", "chance"])


def _norms(vector: TaskVector, layers: int) -> list[float]:
    squares = [0.0] * layers
    for layer, name in _in_layers(vector):
        squares[layer] += _inner(vector, vector, name)
    return [math.sqrt(square) for square in squares]


def _in_layers(vector: TaskVector) -> Iterator[tuple[int, str]]:
    for name in vector.names:
        layer = layer_index(name)
        if layer is not None:
            yield layer, name


def _inner(a: TaskVector, b: TaskVector, name: str) -> float:
    """Inner product of two deltas; from their factors if both have some, without forming the matrices."""
    p, q = a.factors(name), b.factors(name)
    if p is None or q is None:
        return float((dense(a.delta(name)) * dense(b.delta(name))).sum(dtype=torch.float64))
    return float(((p.left.T @ q.left) * (p.right @ q.right.T)).sum(dtype=torch.float64))


def _subspaces(a: TaskVector, b: TaskVector, name: str) -> list[tuple[float, float, float]]:
    """Overlap of inputs, of outputs, and the overlap expected of random inputs; nothing for dense deltas.

    ||Qa^T Qb||_F^2 / min(ra, rb) for orthonormal bases Qa, Qb, as the similarity of LoRA subspaces is measured in
    arXiv:2106.09685, sec. 7.2.
    """
    p, q = a.factors(name), b.factors(name)
    if p is None or q is None:
        return []
    few, many = sorted((p.rank, q.rank))
    reads, writes = (
        float((_basis(x).T @ _basis(y)).square().sum()) / few for x, y in ((p.right.T, q.right.T), (p.left, q.left))
    )
    return [(reads, writes, many / p.right.shape[1])]


def _basis(columns: torch.Tensor) -> torch.Tensor:
    basis: torch.Tensor = torch.linalg.qr(columns).Q
    return basis
