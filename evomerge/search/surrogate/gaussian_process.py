"""Fit a Gaussian process to values with known noise, and predict with gradients; numpy and scipy alone.

The kernel is a Matern-5/2 of the numeric inputs with a length scale each, times a factor for each category that two
points do not share, plus an offset for each category that they do share, plus a constant. Hyperparameters maximise the
posterior: length scales have a prior that grows with the root of the dimensions (arXiv:2402.02229), without which some
dozens of points in 30 dimensions are explained by noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

Array = NDArray[np.float64]
Categories = NDArray[np.int64]

_ROOT5 = math.sqrt(5.0)
_STEPS = 40  # of L-BFGS: the hyperparameters need no digits
_JITTER = 1e-8


@dataclass(frozen=True)
class Hyperparameters:
    """Of one process over D numbers and K categories; variances in units of the standardised values.

    Attributes:
        variance: of the Matern part.
        lengths: length scales (D,).
        shared: factor in (0, 1) of two points that differ in a category (K,).
        offsets: variance of each category's offset (K,).
        noise: variance beside the known noise.
    """

    variance: float
    lengths: Array
    shared: Array
    offsets: Array
    noise: float


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process. Made by :func:`fit`.

    Attributes:
        numbers: inputs (N, D) in [0, 1].
        categories: inputs (N, K).
        values: standardised values (N,).
        noise: their variance (N,), known and fitted.
        centre, spread: of the values before they were standardised.
    """

    numbers: Array
    categories: Categories
    values: Array
    noise: Array
    centre: float
    spread: float
    fitted: Hyperparameters
    inverse: Array
    weights: Array

    def predict(self, numbers: Array, categories: Categories) -> tuple[Array, Array]:
        """Mean and standard deviation at B points, each (B,), without noise."""
        mean, deviation, _, _ = self._predict(numbers, categories, gradients=False)
        return mean, deviation

    def predict_with_gradients(self, numbers: Array, categories: Categories) -> tuple[Array, Array, Array, Array]:
        """Mean and standard deviation (B,), and their gradients (B, D) with respect to the numbers."""
        return self._predict(numbers, categories, gradients=True)

    def given(self, numbers: Array, categories: Categories) -> GaussianProcess:
        """The process that also knows of running points: their values are taken to be their predicted means."""
        if len(numbers) == 0:
            return self
        mean, _ = self.predict(numbers, categories)
        noise = np.concatenate([self.noise, np.full(len(numbers), float(np.median(self.noise)))])
        return _condition(
            np.concatenate([self.numbers, numbers]),
            np.concatenate([self.categories, categories]),
            np.concatenate([self.values, (mean - self.centre) / self.spread]),
            noise,
            self.centre,
            self.spread,
            self.fitted,
        )

    def _predict(self, numbers: Array, categories: Categories, gradients: bool) -> tuple[Array, Array, Array, Array]:
        own = self.fitted
        scaled, known = numbers / own.lengths, self.numbers / own.lengths
        distance = _distances(scaled, known)
        decay = np.exp(-_ROOT5 * distance)
        factor, offsets = _categorical(categories, self.categories, own)
        factor = own.variance * factor
        kernel = factor * (1.0 + _ROOT5 * distance + 5.0 / 3.0 * distance**2) * decay + offsets + 1.0
        mean = kernel @ self.weights
        solved = kernel @ self.inverse
        prior = own.variance + float(own.offsets.sum()) + 1.0
        variance = np.maximum(prior - np.einsum("bn,bn->b", solved, kernel), 1e-10)
        deviation = np.sqrt(variance)
        if not gradients:
            none = np.empty((0, 0))
            return self.centre + self.spread * mean, self.spread * deviation, none, none
        slope = factor * (5.0 / 3.0) * (1.0 + _ROOT5 * distance) * decay
        of_mean = _slopes(slope * self.weights, scaled, known) / own.lengths
        of_variance = -2.0 * _slopes(slope * solved, scaled, known) / own.lengths
        return (
            self.centre + self.spread * mean,
            self.spread * deviation,
            self.spread * of_mean,
            self.spread * of_variance / (2.0 * deviation[:, None]),
        )


def fit(numbers: Array, categories: Categories, values: Array, noise: Array) -> GaussianProcess:
    """
    Args:
        numbers: inputs (N, D) in [0, 1].
        categories: inputs (N, K), as whole numbers.
        values: what was observed (N,).
        noise: variance of each observation (N,), in squared units of ``values``.
    """
    centre = float(np.average(values, weights=1.0 / (noise + values.var() + 1e-12)))
    spread = max(float(values.std()), 1e-6)
    standard, known = (values - centre) / spread, noise / spread**2
    dimensions, kinds = numbers.shape[1], categories.shape[1]
    # mean and deviation of each log or logit hyperparameter's normal prior
    middle = np.concatenate(
        [
            [0.0],
            np.full(dimensions, math.log(0.6 * math.sqrt(max(dimensions, 1)))),
            np.full(kinds, 1.5),
            np.full(kinds, math.log(0.1)),
            [math.log(3e-3)],
        ]
    )
    width = np.concatenate([[1.0], np.full(dimensions, 0.9), np.full(kinds, 1.0), np.full(kinds, 1.0), [1.0]])

    def loss(place: Array) -> tuple[float, Array]:
        value, slope = _log_likelihood(place, numbers, categories, standard, known)
        apart = (place - middle) / width
        return 0.5 * float(apart @ apart) - value, apart / width - slope

    bounds = [(m - 4.0 * w, m + 4.0 * w) for m, w in zip(middle, width, strict=True)]
    found = minimize(loss, middle, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS})
    fitted = _hyperparameters(found.x, dimensions, kinds)
    return _condition(numbers, categories, standard, known + fitted.noise, centre, spread, fitted)


def _hyperparameters(place: Array, dimensions: int, kinds: int) -> Hyperparameters:
    lengths, rest = np.exp(place[1 : 1 + dimensions]), place[1 + dimensions :]
    return Hyperparameters(
        float(np.exp(place[0])),
        lengths,
        1.0 / (1.0 + np.exp(-rest[:kinds])),
        np.exp(rest[kinds : 2 * kinds]),
        float(np.exp(place[-1])),
    )


def _log_likelihood(
    place: Array, numbers: Array, categories: Categories, values: Array, known: Array
) -> tuple[float, Array]:
    """Log marginal likelihood, but for a constant, and its gradient with respect to ``place``."""
    count, dimensions = numbers.shape
    kinds = categories.shape[1]
    own = _hyperparameters(place, dimensions, kinds)
    scaled = numbers / own.lengths
    distance = _distances(scaled, scaled)
    decay = np.exp(-_ROOT5 * distance)
    factor, offsets = _categorical(categories, categories, own)
    factor = own.variance * factor
    matern = factor * (1.0 + _ROOT5 * distance + 5.0 / 3.0 * distance**2) * decay
    covariance = matern + offsets + 1.0
    covariance[np.diag_indices(count)] += known + own.noise + _JITTER
    inverse, log_determinant = _inverse(covariance)
    weights = inverse @ values
    value = -0.5 * float(values @ weights) - 0.5 * log_determinant
    outer = 0.5 * (np.outer(weights, weights) - inverse)  # gradient with respect to the covariance
    by_length = outer * factor * (5.0 / 3.0) * (1.0 + _ROOT5 * distance) * decay
    squares = scaled * scaled
    lengths = 2.0 * (by_length.sum(axis=1) @ squares - np.einsum("nd,nd->d", scaled, by_length @ scaled))
    slopes: list[Any] = [[float((outer * matern).sum())], lengths]
    same = [categories[:, k, None] == categories[None, :, k] for k in range(kinds)]
    slopes.append([float((outer * matern)[~same[k]].sum() * (1.0 - own.shared[k])) for k in range(kinds)])
    slopes.append([float(outer[same[k]].sum() * own.offsets[k]) for k in range(kinds)])
    slopes.append([float(np.trace(outer)) * own.noise])
    return value, np.concatenate([np.asarray(part, dtype=np.float64) for part in slopes])


def _condition(
    numbers: Array,
    categories: Categories,
    values: Array,
    noise: Array,
    centre: float,
    spread: float,
    fitted: Hyperparameters,
) -> GaussianProcess:
    scaled = numbers / fitted.lengths
    distance = _distances(scaled, scaled)
    factor, offsets = _categorical(categories, categories, fitted)
    covariance = fitted.variance * factor * (1.0 + _ROOT5 * distance + 5.0 / 3.0 * distance**2)
    covariance = covariance * np.exp(-_ROOT5 * distance) + offsets + 1.0
    covariance[np.diag_indices(len(numbers))] += noise + _JITTER
    inverse, _ = _inverse(covariance)
    return GaussianProcess(
        numbers, categories, values, noise, centre, spread, fitted, inverse, np.asarray(inverse @ values)
    )


def _inverse(covariance: Array) -> tuple[Array, float]:
    """Inverse of a positive definite matrix and the logarithm of its determinant."""
    lower, failed = dpotrf(covariance, lower=1)
    assert failed == 0, "the covariance is positive definite: noise is on its diagonal"
    log_determinant = 2.0 * float(np.log(np.diag(lower)).sum())
    half, _ = dpotri(lower, lower=1)
    half = np.tril(half)
    return half + np.tril(half, -1).T, log_determinant


def _distances(left: Array, right: Array) -> Array:
    """Euclidean distances (B, N) between rows."""
    squares = (left * left).sum(axis=1)[:, None] + (right * right).sum(axis=1)[None, :] - 2.0 * left @ right.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def _categorical(left: Categories, right: Categories, own: Hyperparameters) -> tuple[Array, Array]:
    """Factor and offset (B, N) of each pair of rows."""
    factor, offsets = np.ones((len(left), len(right))), np.zeros((len(left), len(right)))
    for k in range(left.shape[1]):
        same = left[:, k, None] == right[None, :, k]
        factor *= np.where(same, 1.0, own.shared[k])
        offsets += np.where(same, own.offsets[k], 0.0)
    return factor, offsets


def _slopes(pairs: Array, points: Array, known: Array) -> Array:
    """Sum over n of pairs[b, n] * (known[n] - points[b]), shape (B, D)."""
    return np.asarray(pairs @ known - pairs.sum(axis=1)[:, None] * points)
