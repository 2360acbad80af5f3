"""Simulate merges: a recipe's ability at each task, and the outcomes of items, without a model.

A task's ability is a probit. It rises towards the expert's as the expert's effective weight nears its best strength in
the layers that matter for the task, falls with the other experts' interference, and collapses where the weights add up
to too much. Methods gain, interfere and err in their own ways. Constants come from recorded real runs of three adapters
of a 135 M model on sql, code and json (100, 60 and 100 search items):

- base and experts solve .00-.33 and .49-.87 of their tasks' items;
- task arithmetic at weight 0.5 keeps about .7 of the weakest skill, TSV-M and TIES at density 0.5 about .8, the best
  weights a layer found by gradient about .92;
- two good candidates of equal quality disagree on 10 to 15 % of items: on these the outcome is the candidate's own, on
  the rest it is the item's (item response theory with one parameter; the correlation of latents follows);
- an answer takes 12-27 tokens where the skill is there and 14-58 where it is not. Answers that never end cost more in
  real runs; here they do not, so that stopping such candidates early saves less than it would.
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from evomerge.recipes.space import SearchSpace
from evomerge.types import Done, Expert, ItemScore, Objective, Recipe, Work

Array = NDArray[np.float64]

LAYERS = 30
ITEMS = {"search": 100, "selection": 100}
DISAGREE = 0.12  # share of items on which two candidates of equal quality, solving half of them, disagree
LIKENESS = math.cos(math.pi * DISAGREE)  # correlation of their latents (Sheppard 1899)

#: method -> (gain of strength, interference, standard deviation of its offset at a task)
METHODS = {
    "core_task_arithmetic": (1.0, 1.0, 0.0),
    "linear": (1.0, 1.0, 0.0),
    "core_tsv": (0.85, 0.45, 0.12),
    "ties": (0.95, 0.55, 0.08),
    "dare_linear": (1.0, 1.0, 0.05),
    "dare_ties": (0.95, 0.6, 0.08),
}


@dataclass(frozen=True)
class Landscape:
    """One simulated problem: T experts, each with a task of its own.

    Attributes:
        space: the real search space over made-up experts.
        base, expert: ability of the base at each task, and of the task's expert (T,).
        matters: share of each layer in each task's skill (T, L), rows sum to 1.
        strength: best effective weight of the task's expert (T, L).
        interferes: loss of ability at task t from expert j in each layer at strength 1 (T, T, L).
        offsets: of each method at each task.
        seed: of the items.
    """

    space: SearchSpace
    base: Array
    expert: Array
    matters: Array
    strength: Array
    interferes: Array
    offsets: dict[str, Array]
    short: Array
    long: Array
    seed: int

    @property
    def objectives(self) -> list[Objective]:
        return [Objective(expert.name, expert=expert.name) for expert in self.space.experts]

    def ability(self, recipe: Recipe) -> Array:
        """Probit of the true score at each task (T,)."""
        gain, interference, _ = METHODS[recipe.method]
        effective = gain * self._effective(recipe)
        skill = 1.0 - (self.matters * (1.0 - effective / self.strength) ** 2).sum(axis=1)
        # the square of the deviation from the best strength, as measured around real merges, levels off far away
        skill = np.where(skill > 0, skill, np.tanh(skill))
        loss = interference * np.einsum("tjl,jl->t", self.interferes, effective**2)
        crowd = math.sqrt(interference) * np.abs(effective).sum(axis=0)
        collapse = 1.5 * np.maximum(crowd - 2.2, 0.0).mean() ** 1.5
        noise = 0.0
        if recipe.method.startswith("dare"):
            density = np.array(recipe.expert_parameters["density"])
            noise = 0.08 * float((((1.0 - density) / density)[:, None] * effective**2).mean())
        rise = (self.expert - self.base) * skill - loss - collapse - noise
        return self.base + rise + self.offsets[recipe.method] * np.minimum(1.0, effective.mean(axis=1))

    def _effective(self, recipe: Recipe) -> Array:
        """Strength of each expert in each layer (T, L)."""
        weights = np.array(recipe.weights)
        count = weights.shape[1]
        if recipe.method == "linear":
            total = weights.sum(axis=1, keepdims=True)
            weights = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        if recipe.method == "core_tsv":
            weights = weights * float(recipe.parameters["scale"])
        if recipe.method in ("ties", "dare_ties"):
            # the sign-elected mean: entries that only one expert keeps are not divided
            density = np.array(recipe.expert_parameters["density"])
            kept = density**0.3 if recipe.method == "ties" else 1.0
            divided = 1.0 + (count - 1.0) * float(density.mean()) * 0.35
            weights = weights * kept / divided
        groups = np.arange(LAYERS) * len(weights) // LAYERS
        return weights[groups].T

    def truth(self, recipe: Recipe) -> Array:
        """The scores (T,) that infinitely many items would give."""
        return np.asarray(norm.cdf(self.ability(recipe)))

    def evaluate(self, work: Work) -> Done:
        """Outcomes and tokens of the work's items."""
        start = time.perf_counter()
        recipe = work.subject
        assert isinstance(recipe, Recipe)
        ability = self.ability(recipe)
        items: list[ItemScore] = []
        for t, expert in enumerate(self.space.experts):
            if expert.name not in work.tasks:
                continue
            count = ITEMS[work.split]
            difficulty = self._normal(f"{work.split} {t}", count)
            own = self._normal(f"{work.split} {t} {recipe.fingerprint}", count)
            right = ability[t] > math.sqrt(LIKENESS) * difficulty + math.sqrt(1.0 - LIKENESS) * own
            kept = float(np.clip(norm.cdf(ability[t]) / norm.cdf(self.expert[t]), 0.0, 1.0))
            tokens = round(self.long[t] + (self.short[t] - self.long[t]) * kept)
            items += [
                ItemScore(expert.name, str(n), float(solved), metrics={"tokens": float(tokens)})
                for n, solved in enumerate(right)
                if expert.name not in work.items or str(n) in work.items[expert.name]
            ]
        return Done(work.key, tuple(items), time.perf_counter() - start)

    def _normal(self, key: str, count: int) -> Array:
        digest = hashlib.sha256(f"{self.seed} {key}".encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big")).standard_normal(count)


def landscape(seed: int, experts: int, groups: int) -> Landscape:
    """A random problem of ``experts`` experts and tasks and ``groups`` layer groups."""
    rng = np.random.default_rng([seed, experts, groups])
    names = [f"task{t}" for t in range(experts)]
    space = SearchSpace(
        "base",
        tuple(Expert(name, f"experts/{name}") for name in names),
        tuple(METHODS),
        layer_groups=groups,
        weight_range=(0.0, 1.5),
    )
    matters = np.exp(0.8 * _smooth(rng, (experts, LAYERS)))
    short = rng.uniform(12.0, 27.0, experts)
    return Landscape(
        space,
        base=rng.uniform(-2.3, -0.4, experts),
        expert=rng.uniform(0.0, 1.0, experts),
        matters=matters / matters.sum(axis=1, keepdims=True),
        strength=np.exp(0.2 * _smooth(rng, (experts, LAYERS))),
        interferes=_interference(rng, experts),
        offsets={name: rng.normal(0.0, max(spread, 1e-9), experts) for name, (_, _, spread) in METHODS.items()},
        short=short,
        long=short * rng.uniform(1.2, 2.2, experts),
        seed=seed,
    )


def _interference(rng: np.random.Generator, experts: int) -> Array:
    """Between each two experts, mostly in a few runs of layers; none of an expert with its own task."""
    pairs = np.exp(1.6 * _smooth(rng, (experts, experts, LAYERS)))
    pairs *= np.exp(0.5 * rng.standard_normal((experts, experts, 1)))
    pairs[np.arange(experts), np.arange(experts)] = 0.0
    return pairs * (0.6 / LAYERS / pairs.sum(axis=1).mean())


def _smooth(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Standard normal values that neighbouring layers share (about five layers long)."""
    window = np.exp(-0.5 * (np.arange(-8, 9) / 2.5) ** 2)
    raw = rng.standard_normal((*shape[:-1], shape[-1] + 16))
    found = np.apply_along_axis(lambda row: np.convolve(row, window, mode="valid"), -1, raw)
    return np.asarray(found / math.sqrt(float((window**2).sum())))
