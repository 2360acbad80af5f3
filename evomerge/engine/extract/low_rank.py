"""Compute truncated singular value decompositions: randomised, exact from factors, and full."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from evomerge.tensors.lazy import LowRank

_SMALLEST_BLOCK = 16
# Squared error that further steps would win back, relative to the squared error: 1.01 x the optimum is 0.02
_TOLERANCE = 0.014
_ROUNDING = 1e-7  # float32: of the energy
_SMALL = 1e-3
_BLURRED = 5e-4  # squares this far below the largest need float64: float32 vectors would be orthogonal to 1e-3 only
_PIECE = 1 << 16
_MAX_STEPS = 16
_SEED = 0  # fixed seed: the same matrix gives the same factors, in any order and process


@dataclass(frozen=True)
class Truncated:
    """The largest singular triplets of a matrix (m, n).

    Attributes:
        u: left singular vectors (m, k).
        values: singular values (k,), descending.
        v: right singular vectors (n, k).
        energy: squared Frobenius norm of the whole matrix.
        lost: squared Frobenius norm of the matrix minus its triplets.
    """

    u: torch.Tensor
    values: torch.Tensor
    v: torch.Tensor
    energy: float
    lost: float

    @property
    def rank(self) -> int:
        return len(self.values)

    def first(self, rank: int) -> Truncated:
        """The ``rank`` largest triplets."""
        cut = float(self.values[rank:].double().square().sum())
        return Truncated(self.u[:, :rank], self.values[:rank], self.v[:, :rank], self.energy, self.lost + cut)

    def factors(self, distribute: bool = True) -> LowRank:
        """B (m, k) and A (k, n), with the square root of the singular values in each, or all of them in A."""
        if not distribute:
            return LowRank(self.u, self.values[:, None] * self.v.mT)
        root = self.values.sqrt()
        return LowRank(self.u * root, root[:, None] * self.v.mT)


def full_svd(matrix: torch.Tensor) -> Truncated:
    """Every singular triplet of ``matrix`` (m, n)."""
    u, values, vh = torch.linalg.svd(matrix, full_matrices=False)
    return Truncated(u, values, vh.mT, energy_of(matrix), 0.0)


def factored_svd(factor: LowRank) -> Truncated:
    """Every singular triplet of ``left @ right``, from a QR of each factor, without forming an m x n matrix."""
    q_left, r_left = torch.linalg.qr(factor.left)
    q_right, r_right = torch.linalg.qr(factor.right.mT)
    u, values, vh = torch.linalg.svd(r_left @ r_right.mT, full_matrices=False)
    return Truncated(q_left @ u, values, q_right @ vh.mT, float(values.double().square().sum()), 0.0)


def with_row_means(matrix: torch.Tensor | LowRank, found: Truncated, distribute: bool = True) -> tuple[LowRank, float]:
    """Factors of ``found`` with one more direction: the mean of the residual in each row of ``matrix`` (m, n).

    If all inputs of a unit have the same sign, its output is near the sum of its row, and truncation biases this sum.

    Returns:
        Factors of rank k + 1 that reproduce every row's mean, and their squared error.
    """
    columns = found.v.shape[0]
    whole = matrix.left @ matrix.right.mean(dim=1) if isinstance(matrix, LowRank) else matrix.mean(dim=1)
    means = whole - found.u @ (found.values * found.v.mean(dim=0))
    factor = found.factors(distribute)
    ones = torch.ones(1, columns).to(factor.right)
    both = LowRank(torch.cat([factor.left, means[:, None]], dim=1), torch.cat([factor.right, ones]))
    # squared error of the triplets, minus its part along the direction (1, ..., 1)
    return both, max(0.0, found.lost - columns * energy_of(means))


def randomized_svd(matrix: torch.Tensor, rank: int) -> Truncated:
    """The ``rank`` largest triplets, with a Frobenius error within 1.01 of the best possible.

    The method is power iteration from a random start (arXiv:0909.4061). It keeps all blocks, as a Krylov space
    (arXiv:1504.05477), which halves the number of products for the same error. The captured energy is exact at every
    step, since the basis Q comes with A^T Q. Iteration stops once the possible gain of further steps is small against
    the remaining error. A Krylov space misses some of several equal singular values if they outnumber a block's
    columns; in trained changes, noise separates singular values.

    Args:
        matrix: matrix (m, n), float32.
        rank: number of triplets, at least 1; if it is a large part of min(m, n), the decomposition is a full one.
    """
    if matrix.shape[0] > matrix.shape[1]:
        turned = randomized_svd(matrix.mT, rank)
        return Truncated(turned.v, turned.values, turned.u, turned.energy, turned.lost)
    rows = matrix.shape[0]
    # small blocks: several steps of small blocks capture more energy than one step of a large block
    block = max(_SMALLEST_BLOCK, -(-rank // 2))
    if 3 * block >= rows:
        return full_svd(matrix).first(rank)
    energy = energy_of(matrix)
    if energy == 0.0:
        return Truncated(matrix[:, :0], matrix[0, :0], matrix.mT[:, :0], 0.0, 0.0)
    basis = _krylov_basis(matrix, rank, block, energy)
    return full_svd(matrix).first(rank) if basis is None else _triplets(matrix, basis, rank, energy)


@dataclass(frozen=True)
class _Basis:
    """An orthonormal Q (m, k), its images A^T Q (n, k) and their Gram matrix (k, k)."""

    q: torch.Tensor
    images: torch.Tensor
    gram: torch.Tensor

    def grown(self, fresh: torch.Tensor, images: torch.Tensor) -> _Basis:
        """Append orthonormal columns (m, b) to Q, with their images."""
        across, own = self.images.mT @ images, images.mT @ images
        gram = torch.cat([torch.cat([self.gram, across], dim=1), torch.cat([across.mT, own], dim=1)])
        return _Basis(torch.cat([self.q, fresh], dim=1), torch.cat([self.images, images], dim=1), gram)


def _krylov_basis(matrix: torch.Tensor, rank: int, block: int, energy: float) -> _Basis | None:
    """A basis that holds the ``rank`` largest directions; None if k would come near m."""
    rows, columns = matrix.shape
    generator = torch.Generator().manual_seed(_SEED)
    start = torch.randn(columns, block, generator=generator).to(matrix)
    q = torch.linalg.qr(_product(matrix, start)).Q
    images = _product(matrix.mT, q)
    basis = _Basis(q, images, images.mT @ images)
    lost: float | None = None  # defined once the basis has enough columns for the rank
    gain: float | None = None
    for _ in range(_MAX_STEPS):
        if basis.q.shape[1] >= rank:
            previous, lost = lost, _lost(basis.gram, rank, energy)
            if lost <= _ROUNDING * energy:
                break
            if previous is not None:
                last_gain, gain = gain, previous - lost
                # gains shrink geometrically; until two gains are measured, take a ratio of one half
                ratio = min(max(gain / last_gain, 0.3), 0.85) if last_gain else 0.5
                if gain * ratio / (1 - ratio) <= _TOLERANCE * lost:
                    break
        if basis.q.shape[1] + block > rows // 2:
            return None
        fresh = _orthogonal_to(_product(matrix, images), basis.q)
        images = _product(matrix.mT, fresh)
        basis = basis.grown(fresh, images)
    return basis


def energy_of(tensor: torch.Tensor) -> float:
    """Squared Frobenius norm."""
    flat = (tensor.mT if tensor.ndim == 2 and not tensor.is_contiguous() else tensor).reshape(-1)
    # sum in float64: the error of a good truncation is the small difference of two such sums
    parts = (flat[start : start + _PIECE] for start in range(0, len(flat), _PIECE))
    return sum((float(torch.dot(part, part)) for part in parts), 0.0)


def _product(matrix: torch.Tensor, thin: torch.Tensor) -> torch.Tensor:
    """Matrix product, transposed for a column-major matrix, where the direct product takes up to twice as long."""
    return matrix @ thin if matrix.is_contiguous() else (thin.mT @ matrix.mT).mT


def _orthogonal_to(block: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Orthonormal columns of ``block`` outside the span of ``basis``; the second pass removes rounding errors."""
    for _ in range(2):
        block = torch.linalg.qr(block - basis @ (basis.mT @ block)).Q
    return block


def _lost(gram: torch.Tensor, rank: int, energy: float) -> float:
    """Squared error of the best ``rank`` directions in the basis: the Gram matrix's eigenvalues are squares."""
    squares = torch.linalg.eigvalsh(gram)
    return max(0.0, energy - float(squares[-rank:].double().sum()))


def _triplets(matrix: torch.Tensor, basis: _Basis, rank: int, energy: float) -> Truncated:
    squares, vectors = torch.linalg.eigh(basis.gram)
    exact = energy - float(squares[-rank:].double().sum()) < _SMALL * energy or squares[-rank] < _BLURRED * squares[-1]
    if exact:
        wide = basis.images.double()
        vectors = torch.linalg.eigh(wide.mT @ wide).eigenvectors.to(matrix.dtype)
    turn = vectors[:, -rank:].flip(1)
    left = basis.q @ turn
    # unless the error is tiny, the rounding of the images is far below it
    right = matrix.mT @ left if exact else basis.images @ turn
    values = torch.linalg.vector_norm(right, dim=0)
    right = right / values.clamp_min(1e-30)  # a direction without energy has no right vector
    lost = max(0.0, energy - float(values.double().square().sum()))
    if lost < _SMALL * energy:  # a difference of nearly equal numbers is inaccurate: measure the error directly
        lost = energy_of(matrix - (left * values) @ right.mT)
    return Truncated(left, values, right, energy, lost)
