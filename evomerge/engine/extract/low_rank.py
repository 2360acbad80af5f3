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
_BLURRED = 5e-4  # squares this far below the largest: float32 would leave their vectors less orthogonal than 1e-3
_PIECE = 1 << 16
_MAX_STEPS = 16
_SEED = 0  # the same matrix gives the same factors, in any order and process


@dataclass(frozen=True)
class Truncated:
    """The largest singular triplets of a matrix (m, n).

    Attributes:
        u: (m, k) left singular vectors.
        values: (k,) singular values, descending.
        v: (n, k) right singular vectors.
        energy: squared Frobenius norm of the whole matrix.
        lost: squared Frobenius norm of what the triplets leave.
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
        """B (m, k) and A (k, n); the singular values shared evenly by both, or all in A."""
        if not distribute:
            return LowRank(self.u, self.values[:, None] * self.v.mT)
        root = self.values.sqrt()
        return LowRank(self.u * root, root[:, None] * self.v.mT)


def full_svd(matrix: torch.Tensor) -> Truncated:
    """Every singular triplet of ``matrix`` (m, n)."""
    u, values, vh = torch.linalg.svd(matrix, full_matrices=False)
    return Truncated(u, values, vh.mT, energy_of(matrix), 0.0)


def factored_svd(factor: LowRank) -> Truncated:
    """Every singular triplet of ``left @ right``, from a QR of each factor: no m x n matrix is formed."""
    q_left, r_left = torch.linalg.qr(factor.left)
    q_right, r_right = torch.linalg.qr(factor.right.mT)
    u, values, vh = torch.linalg.svd(r_left @ r_right.mT, full_matrices=False)
    return Truncated(q_left @ u, values, q_right @ vh.mT, float(values.double().square().sum()), 0.0)


def with_row_means(matrix: torch.Tensor | LowRank, found: Truncated, distribute: bool = True) -> tuple[LowRank, float]:
    """Factors of ``found`` and one direction more: the mean that they leave in each row of ``matrix`` (m, n).

    A unit that sees inputs of a common sign adds up its row; a truncation leaves such sums biased.

    Returns:
        Factors of rank k + 1 that reproduce every row's mean, and their squared error.
    """
    columns = found.v.shape[0]
    whole = matrix.left @ matrix.right.mean(dim=1) if isinstance(matrix, LowRank) else matrix.mean(dim=1)
    means = whole - found.u @ (found.values * found.v.mean(dim=0))
    factor = found.factors(distribute)
    ones = torch.ones(1, columns).to(factor.right)
    both = LowRank(torch.cat([factor.left, means[:, None]], dim=1), torch.cat([factor.right, ones]))
    # what the triplets leave, without its projection on the direction (1, ..., 1)
    return both, max(0.0, found.lost - columns * energy_of(means))


def randomized_svd(matrix: torch.Tensor, rank: int) -> Truncated:
    """The ``rank`` largest triplets, their Frobenius error within 1.01 of the best possible.

    A random start and power iterations (arXiv:0909.4061) whose blocks are all kept, as in a Krylov space
    (arXiv:1504.05477): half the products for the same error. The captured energy is exact at every step, since the
    basis Q comes with A^T Q; steps are taken until what further ones can win is small against the error left. Of more
    equal singular values than a block has columns, no Krylov space holds all; noise parts those of trained changes.

    Args:
        matrix: (m, n) float32.
        rank: at least 1; a large part of min(m, n) is answered by a full decomposition.
    """
    if matrix.shape[0] > matrix.shape[1]:
        turned = randomized_svd(matrix.mT, rank)
        return Truncated(turned.v, turned.values, turned.u, turned.energy, turned.lost)
    rows = matrix.shape[0]
    block = max(_SMALLEST_BLOCK, -(-rank // 2))  # several steps of small blocks reach further than one of a large
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
        """With orthonormal columns (m, b) beside Q, and their images."""
        across, own = self.images.mT @ images, images.mT @ images
        gram = torch.cat([torch.cat([self.gram, across], dim=1), torch.cat([across.mT, own], dim=1)])
        return _Basis(torch.cat([self.q, fresh], dim=1), torch.cat([self.images, images], dim=1), gram)


def _krylov_basis(matrix: torch.Tensor, rank: int, block: int, energy: float) -> _Basis | None:
    """A basis that holds the ``rank`` largest directions; None when k would near m."""
    rows, columns = matrix.shape
    generator = torch.Generator().manual_seed(_SEED)
    start = torch.randn(columns, block, generator=generator).to(matrix)
    q = torch.linalg.qr(_product(matrix, start)).Q
    images = _product(matrix.mT, q)
    basis = _Basis(q, images, images.mT @ images)
    lost: float | None = None  # known once the basis can hold the rank
    gain: float | None = None
    for _ in range(_MAX_STEPS):
        if basis.q.shape[1] >= rank:
            previous, lost = lost, _lost(basis.gram, rank, energy)
            if lost <= _ROUNDING * energy:
                break
            if previous is not None:
                last_gain, gain = gain, previous - lost
                # gains shrink geometrically, each to about half of the one before until two of them are known
                ratio = min(max(gain / last_gain, 0.3), 0.85) if last_gain else 0.5
                if gain * ratio / (1 - ratio) <= _TOLERANCE * lost:
                    break
        if basis.q.shape[1] + block > rows // 2:
            return None
        fresh = _orthonormal(_product(matrix, images), basis.q)
        images = _product(matrix.mT, fresh)
        basis = basis.grown(fresh, images)
    return basis


def energy_of(tensor: torch.Tensor) -> float:
    """Squared Frobenius norm."""
    flat = (tensor.mT if tensor.ndim == 2 and not tensor.is_contiguous() else tensor).reshape(-1)
    # summed up in float64: what a good truncation leaves is the small difference of two such sums
    parts = (flat[start : start + _PIECE] for start in range(0, len(flat), _PIECE))
    return sum((float(torch.dot(part, part)) for part in parts), 0.0)


def _product(matrix: torch.Tensor, thin: torch.Tensor) -> torch.Tensor:
    """A matrix read along its columns takes up to twice as long as the same product transposed."""
    return matrix @ thin if matrix.is_contiguous() else (thin.mT @ matrix.mT).mT


def _orthonormal(block: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Orthonormal columns of ``block`` outside the span of ``basis``; twice, for what rounding leaves."""
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
    # the images' rounding is far below an error that is not itself tiny
    right = matrix.mT @ left if exact else basis.images @ turn
    values = torch.linalg.vector_norm(right, dim=0)
    right = right / values.clamp_min(1e-30)  # a direction without energy has no right vector
    lost = max(0.0, energy - float(values.double().square().sum()))
    if lost < _SMALL * energy:  # a difference of nearly equal numbers: measure it instead
        lost = energy_of(matrix - (left * values) @ right.mT)
    return Truncated(left, values, right, energy, lost)
