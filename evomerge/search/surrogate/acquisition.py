"""Propose the point with the largest expected improvement of the smallest retention, or of the front's hypervolume.

Both are one composite function of the tasks' processes (composite: arXiv:1906.01537). A sample s draws each task's
score and has a weight for each task; its utility is the smallest weighted score over the tasks. With equal weights that
is the smallest retention. With weights drawn from the positive part of the sphere, the mean over s of the utility to
the power of the number of tasks is the hypervolume, but for a constant (arXiv:2006.04655, lemma 5), so that the mean
improvement is the expected hypervolume improvement.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from evomerge.search.surrogate.gaussian_process import Array, Categories, GaussianProcess
from evomerge.search.surrogate.unit_cube import UnitCube

_SAMPLES = 128  # draws of the scores
_POOL = 1024  # points that are looked at,
_STARTS = 12  # of which the best are moved uphill
_MOVES = 40
_TIES = 0.05  # weight of the mean retention beside the smallest
_PARENTS = 10  # told trials that points are drawn around
_ROOT_TAU = math.sqrt(2.0 * math.pi)


@dataclass(frozen=True)
class Improvement:
    """Expected improvement over told trials, estimated from fixed draws.

    Attributes:
        processes: of each of M tasks, in probits of the score.
        references: score of each task that counts as 1 (M,).
        draws: standard normal (S, M).
        weights: of the tasks in each sample (S, M).
        power: 1, or M for the hypervolume.
        best: each sample's best utility so far (S,).
        softness: how far below ``best`` a utility still counts a little: gradients need a slope there.
    """

    processes: tuple[GaussianProcess, ...]
    references: Array
    draws: Array
    weights: Array
    power: int
    best: Array
    softness: float

    def values(self, numbers: Array, categories: Categories) -> Array:
        """Expected improvement at B points (B,)."""
        kept = np.empty((len(numbers), *self.draws.shape))
        for t, process in enumerate(self.processes):
            mean, deviation = process.predict(numbers, categories)
            kept[:, :, t] = ndtr(mean[:, None] + deviation[:, None] * self.draws[:, t]) / self.references[t]
        gain, _, _ = self._gain(kept)
        return gain

    def gradients(self, numbers: Array, categories: Categories) -> tuple[Array, Array]:
        """Expected improvement (B,) and its gradient (B, D)."""
        kept = np.empty((len(numbers), *self.draws.shape))
        slopes = []
        for t, process in enumerate(self.processes):
            mean, deviation, of_mean, of_deviation = process.predict_with_gradients(numbers, categories)
            probit = mean[:, None] + deviation[:, None] * self.draws[:, t]
            kept[:, :, t] = ndtr(probit) / self.references[t]
            slopes.append((np.exp(-0.5 * probit**2) / _ROOT_TAU / self.references[t], of_mean, of_deviation))
        gain, of_least, of_mean_kept = self._gain(kept)
        least = (kept / self.weights).argmin(axis=2)
        total = np.zeros_like(numbers)
        for t, (density, of_mean, of_deviation) in enumerate(slopes):
            share = (of_least * (least == t) / self.weights[:, t] + of_mean_kept) * density
            total += share.mean(axis=1)[:, None] * of_mean
            total += (share * self.draws[:, t]).mean(axis=1)[:, None] * of_deviation
        return gain, total

    def _gain(self, kept: Array) -> tuple[Array, Array, Array]:
        """Improvement (B,), and each sample's derivative (B, S) by the least and by each task's retention."""
        least, ties, spread = _parts(kept, self.weights, self.power)
        over = (least + ties - self.best) / self.softness
        gain = self.softness * np.logaddexp(0.0, over)
        rises = 1.0 / (1.0 + np.exp(-np.clip(over, -50.0, 50.0)))
        return gain.mean(axis=1), rises * spread, rises * (_TIES / kept.shape[2] if self.power == 1 else 0.0)


def _parts(kept: Array, weights: Array, power: int) -> tuple[Array, Array, Array]:
    """Of retentions (B, S, M): utility (B, S), what breaks ties, and the utility's derivative by the least."""
    least = (kept / weights).min(axis=2)
    if power == 1:
        return least, _TIES * kept.mean(axis=2), np.ones_like(least)
    return least**power, np.zeros_like(least), power * least ** (power - 1)


def improvement(
    processes: Sequence[GaussianProcess],
    references: Array,
    told: tuple[Array, Categories],
    balances: bool,
    seed: int,
) -> Improvement:
    """The improvement over the told points, whose own scores are the processes' means: what noise has raised is no
    improvement.

    Args:
        references: score of each task that counts as 1 (M,).
        told: numbers and categories of the points to beat.
        balances: of the smallest retention, else of the hypervolume.
        seed: of the draws.
    """
    tasks = len(processes)
    uniform = qmc.Sobol(2 * tasks, scramble=True, seed=seed).random(_SAMPLES)
    normal = ndtri(np.clip(uniform, 1e-6, 1.0 - 1e-6))
    power = 1 if balances else tasks
    sphere = np.maximum(np.abs(normal[:, tasks:]), 1e-3)
    weights = np.ones((_SAMPLES, tasks)) if balances else sphere / np.linalg.norm(sphere, axis=1, keepdims=True)
    means = np.stack([ndtr(p.predict(*told)[0]) / r for p, r in zip(processes, references, strict=True)], axis=-1)
    utility, ties, _ = _parts(np.repeat(means[:, None, :], _SAMPLES, axis=1), weights, power)
    best = (utility + ties).max(axis=0)
    softness = 0.005 if balances else 0.02 * float(best.mean())
    return Improvement(tuple(processes), references, normal[:, :tasks], weights, power, best, softness)


def propose(
    wanted: Improvement, cube: UnitCube, parents: tuple[Array, Categories], rng: np.random.Generator
) -> tuple[Array, Categories]:
    """The point with the largest improvement found: numbers (D,), categories (K,).

    Args:
        parents: told points, the best first; points are drawn around them and between them, and uniformly.
    """
    numbers, categories = _pool(cube, parents, rng)
    order = np.argsort(-wanted.values(numbers, categories), kind="stable")[:_STARTS]
    numbers, categories = _uphill(wanted, cube, numbers[order], categories[order])
    best = int(np.argmax(wanted.values(numbers, categories)))
    return numbers[best], categories[best]


def _pool(cube: UnitCube, parents: tuple[Array, Categories], rng: np.random.Generator) -> tuple[Array, Categories]:
    """Half of the points lie near a parent, a quarter between two, a quarter anywhere."""
    dimensions = len(cube.numbers)
    own, kinds = (part[:_PARENTS] for part in parents)
    first, second = rng.integers(len(own), size=(2, _POOL))
    numbers = own[first]
    few = rng.random((_POOL, dimensions)) < rng.choice([0.15, 0.5, 1.0], size=(_POOL, 1))
    width = rng.choice([0.05, 0.15, 0.4], size=(_POOL, 1))
    near = numbers + few * width * rng.standard_normal((_POOL, dimensions))
    mix = rng.random((_POOL, 1)) * 1.4 - 0.2
    between = numbers + mix * (own[second] - numbers)
    anywhere = rng.random((_POOL, dimensions))
    group = rng.random((_POOL, 1))
    numbers = np.clip(np.where(group < 0.5, near, np.where(group < 0.75, between, anywhere)), 0.0, 1.0)
    categories = kinds[first]
    for k, count in enumerate(cube.choices):
        other = rng.random(_POOL) < 0.25
        categories[:, k] = np.where(other, rng.integers(count, size=_POOL), categories[:, k])
    return cube.centred(numbers, categories), categories


def _uphill(wanted: Improvement, cube: UnitCube, numbers: Array, categories: Categories) -> tuple[Array, Categories]:
    """Move all points uphill at once, by Adam with falling steps inside the cube; each keeps the best of its path."""
    matters = cube.matters(categories)
    first, second = np.zeros_like(numbers), np.zeros_like(numbers)
    best, found = np.full(len(numbers), -np.inf), numbers.copy()
    for step in range(1, _MOVES + 1):
        value, slope = wanted.gradients(numbers, categories)
        better = value > best
        best[better], found[better] = value[better], numbers[better]
        slope = np.where(matters, slope / np.maximum(np.abs(slope).max(axis=1, keepdims=True), 1e-300), 0.0)
        first, second = 0.9 * first + 0.1 * slope, 0.98 * second + 0.02 * slope**2
        rise = (first / (1.0 - 0.9**step)) / (np.sqrt(second / (1.0 - 0.98**step)) + 1e-3)
        numbers = np.clip(numbers + 0.06 * (1.0 - step / (_MOVES + 1)) * rise, 0.0, 1.0)
    return found, categories
