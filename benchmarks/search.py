"""Compare samplers on simulated merges: what they find for the tokens that they have candidates generate.

    python benchmarks/search.py [--keep] [--landscapes 5] [--budget 120] [--only NSGA-II,CMA-ES+]

Ours is the real loop with the real sampler and a pool of one simulated worker (``landscape.py``); the peers are
pymoo's NSGA-II on our mixed space, and pycma as mergekit-evolve drives it: one method, no bounds on the genome, sigma
1/6, the default population, the mean score as the one objective. ``+`` marks a peer that starts from our anchors.
Random is ``search=random``. All answer the same search items of the same landscapes; the budget is in tokens, those of
random search with ``--budget`` candidates.

Two measures, both of true scores, which no sampler sees: the hypervolume of the candidates that are on the front by
their search items, and the smallest retention of the winner that ``finalists`` and ``choose`` take on search and
selection items. pymoo and cma come with ``pip install evomerge[peers]``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from kept_results import keep
from landscape import Landscape, landscape

from evomerge.cluster.serial import SerialPool
from evomerge.search.choose import choose, finalists, front
from evomerge.search.loop import run_search
from evomerge.search.pareto import hypervolume, smallest_retention
from evomerge.search.store import Store
from evomerge.types import Candidate, Objective, Recipe, Trial, Work, scores_by_task

SETTINGS = {"3 experts, 10 groups": (3, 10), "2 experts, 16 groups": (2, 16), "4 experts, 8 groups": (4, 8)}
FRACTIONS = (0.125, 0.25, 0.5, 1.0)  # of the budget in tokens
POPULATION = 16  # of NSGA-II: pymoo's own 100 would be most of the budget
FINALISTS = 8


def tokens(trial: Trial) -> float:
    return sum(item.metrics["tokens"] for item in trial.items)


# --- the searches: each gives its trials in order ----------------------------------------------------------------


def ours(problem: Landscape, sampler: str, budget: int, most: float, seed: int, **settings: Any) -> list[Trial]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        store = Store(folder)
        try:
            pool, given = SerialPool(Stopping(problem, most)), (problem.space, store, problem.objectives)
            run_search(pool, *given, budget, sampler, seed, ahead=0, **settings)
        except OutOfTokens:
            pass
        trials = store.trials()
        store.close()
        return trials


class OutOfTokens(BaseException):
    """Ends a search when its tokens are spent."""


class Stopping:
    """A simulated worker with a budget of tokens."""

    def __init__(self, problem: Landscape, most: float) -> None:
        self._problem, self._left = problem, most

    def evaluate(self, work: Work) -> Any:
        if self._left <= 0:
            raise OutOfTokens
        done = self._problem.evaluate(work)
        self._left -= sum(item.metrics["tokens"] for item in done.items)
        return done


class Driven:
    """Scores the points that a peer asks for: a list of trials that grows until the tokens are spent."""

    def __init__(self, problem: Landscape, most: float) -> None:
        self.problem, self.most = problem, most
        self.trials: list[Trial] = []
        self.spent = 0.0

    def losses(self, params: Mapping[str, Any]) -> list[float]:
        """1 - score of each task.

        Raises:
            OutOfTokens: nothing is left.
        """
        if self.spent >= self.most:
            raise OutOfTokens
        recipe = self.problem.space.decode(params)
        known = next((t for t in self.trials if t.recipe.fingerprint == recipe.fingerprint), None)
        if known is None:
            names = tuple(objective.task for objective in self.problem.objectives)
            done = self.problem.evaluate(Work("x", recipe, "search", names))
            candidate = Candidate(len(self.trials), recipe, params)
            known = Trial(candidate.number, recipe, params, None, done.items, done.seconds, "")
            self.trials.append(known)
            self.spent += tokens(known)
        return [1.0 - score.mean for score in known.scores.values()]


def nsga2(problem: Landscape, most: float, seed: int, anchored: bool) -> list[Trial]:
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.mixed import (
        MixedVariableDuplicateElimination,
        MixedVariableMating,
        MixedVariableSampling,
    )
    from pymoo.core.problem import ElementwiseProblem
    from pymoo.core.variable import Choice, Real
    from pymoo.optimize import minimize

    space, driven = problem.space, Driven(problem, most)
    kinds = {
        p.name: Choice(options=list(p.choices)) if p.kind == "categorical" else Real(bounds=(p.low, p.high))
        for p in space.parameters
    }

    class Merging(ElementwiseProblem):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(vars=kinds, n_obj=len(problem.objectives))

        def _evaluate(self, x: Mapping[str, Any], out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            out["F"] = driven.losses(x)

    class FromAnchors(MixedVariableSampling):  # type: ignore[misc]
        def _do(self, problem: Any, n_samples: int, **kwargs: Any) -> Any:
            drawn = super()._do(problem, n_samples, **kwargs)
            anchors = [dict(space.encode(recipe)) for _, recipe in space.anchors()]
            return [*anchors, *drawn][:n_samples]

    algorithm = NSGA2(
        pop_size=POPULATION,
        sampling=FromAnchors() if anchored else MixedVariableSampling(),
        mating=MixedVariableMating(eliminate_duplicates=MixedVariableDuplicateElimination()),
        eliminate_duplicates=MixedVariableDuplicateElimination(),
    )
    with contextlib.suppress(OutOfTokens):
        minimize(Merging(), algorithm, ("n_gen", 10_000), seed=seed + 1, verbose=False)
    return driven.trials


def cmaes(problem: Landscape, most: float, seed: int, anchored: bool) -> list[Trial]:
    """As mergekit-evolve: task arithmetic from weights 1/T; anchored: the method and weights of the best anchor."""
    import cma

    space, driven = problem.space, Driven(problem, most)
    numbers = [p for p in space.parameters if p.kind != "categorical"]
    start = dict(space.encode(dict(space.anchors())["uniform"]))
    try:
        if anchored:
            scored = {}
            for label, recipe in space.anchors():
                params = dict(space.encode(recipe))
                scored[label] = (sum(driven.losses(params)), params)
            start = min(scored.values(), key=lambda pair: pair[0])[1]
        used = problem.space.decode(start)
        names = [
            p
            for p in numbers
            if p.name.startswith("weight.")
            or p.name in used.parameters
            or p.name.split(".")[0] in used.expert_parameters
        ]

        def loss(genome: Sequence[float]) -> float:
            # a weight is |x|, a density is |x| up to 1: the genome has no bounds
            values = {p.name: min(max(abs(float(x)), p.low), p.high) for p, x in zip(names, genome, strict=True)}
            return float(np.mean(driven.losses({**start, **values})))

        cma.fmin2(
            loss,
            [start[p.name] for p in names],
            1.0 / 6.0,
            {
                "verbose": -9,
                "seed": seed + 1,
                "maxfevals": 100_000,
                "verb_filenameprefix": tempfile.gettempdir() + "/cma-",
            },
        )
    except OutOfTokens:
        pass
    return driven.trials


SEARCHES: dict[str, Callable[[Landscape, int, float, int], list[Trial]]] = {
    "ours": lambda problem, budget, most, seed: ours(problem, "gp", 10 * budget, most, seed, racing=True),
    "ours unraced": lambda problem, budget, most, seed: ours(problem, "gp", 10 * budget, most, seed),
    "random": lambda problem, budget, most, seed: ours(problem, "random", budget, math.inf, seed),
    "NSGA-II": lambda problem, budget, most, seed: nsga2(problem, most, seed, anchored=False),
    "NSGA-II+": lambda problem, budget, most, seed: nsga2(problem, most, seed, anchored=True),
    "CMA-ES": lambda problem, budget, most, seed: cmaes(problem, most, seed, anchored=False),
    "CMA-ES+": lambda problem, budget, most, seed: cmaes(problem, most, seed, anchored=True),
}


# --- what they found ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curve:
    """After each trial: tokens so far, and hypervolume of the true scores of the front by the search items."""

    tokens: tuple[float, ...]
    hypervolume: tuple[float, ...]
    winner: float
    trials: int
    seconds: float

    def at(self, budget: float) -> float:
        """Hypervolume when ``budget`` tokens are spent."""
        known = [v for t, v in zip(self.tokens, self.hypervolume, strict=True) if t <= budget]
        return known[-1] if known else 0.0

    def cost(self, volume: float) -> float:
        """Tokens at which the hypervolume is reached first; infinite if it never is."""
        return next((t for t, v in zip(self.tokens, self.hypervolume, strict=True) if v >= volume), math.inf)


def curve(problem: Landscape, trials: Sequence[Trial], seconds: float) -> Curve:
    truth = {trial.number: problem.truth(trial.recipe) for trial in trials}
    spent, volumes, total = [], [], 0.0
    for n, trial in enumerate(trials, start=1):
        total += tokens(trial)
        own = front(trials[:n], problem.objectives)
        spent.append(total)
        volumes.append(hypervolume(1.0 - np.array([truth[t.number] for t in own]), np.ones(len(problem.objectives))))
    winner = retention(problem, select(problem, trials))
    return Curve(tuple(spent), tuple(volumes), winner, len(trials), seconds)


def select(problem: Landscape, trials: Sequence[Trial]) -> Recipe:
    """The winner, by the rules of ``job=search``."""
    names = tuple(objective.task for objective in problem.objectives)
    alone = {label.removeprefix("expert:"): r for label, r in problem.space.anchors() if label.startswith("expert:")}

    def known(split: str) -> list[Objective]:
        scores = {n: scores_by_task(problem.evaluate(Work("x", r, split, (n,))).items)[n] for n, r in alone.items()}
        return [replace(o, reference=scores[o.task].mean) for o in problem.objectives]

    best = finalists(trials, known("search"), FINALISTS)
    scores = [scores_by_task(problem.evaluate(Work("x", t.recipe, "selection", names)).items) for t in best]
    return best[choose(scores, known("selection"))].recipe


def retention(problem: Landscape, recipe: Recipe) -> float:
    alone = dict(problem.space.anchors())
    bounds = [problem.truth(alone[f"expert:{o.task}"])[t] for t, o in enumerate(problem.objectives)]
    return float(smallest_retention(problem.truth(recipe)[None], bounds)[0])


def searched(task: tuple[str, str, int, int, float]) -> Curve:
    """One search: (its name, setting, landscape, budget, tokens)."""
    name, setting, seed, budget, most = task
    warnings.simplefilter("ignore")
    problem = landscape(seed, *SETTINGS[setting])
    start = time.process_time()
    trials = SEARCHES[name](problem, budget, most, seed)
    return curve(problem, trials, time.process_time() - start)


Found = dict[tuple[str, str, int], Curve]


def runs(names: Sequence[str], settings: Sequence[str], count: int, budget: int, processes: int) -> Found:
    """Curves by (search, setting, landscape). Random search comes first, since its tokens are the others' budget."""
    found: Found = {}
    with ProcessPoolExecutor(processes) as pool:
        for group in (["random"], [name for name in names if name != "random"]):
            keys = [(name, setting, seed) for setting in settings for seed in range(count) for name in group]
            tasks = [
                (*key, budget, math.inf if key[0] == "random" else found["random", *key[1:]].tokens[-1]) for key in keys
            ]
            for key, own in zip(keys, pool.map(searched, tasks), strict=True):
                found[key] = own
                most = found["random", *key[1:]].tokens[-1]
                values = " ".join(f"{own.at(part * most):.3f}" for part in FRACTIONS)
                told = f"{own.trials:4} trials, hypervolume {values}, winner {own.winner:.3f}, {own.seconds:.0f} s"
                print(f"{key[1]} #{key[2]} {key[0]:15} {told}", flush=True)
    return found


def summary(found: Found, names: Sequence[str]) -> dict[str, float]:
    """The numbers of the last line; medians over landscapes."""
    problems = sorted({key[1:] for key in found})
    most = {problem: found["random", *problem].tokens[-1] for problem in problems}
    peers = [name for name in names if not name.startswith("ours")]

    def volumes(name: str, part: float) -> np.ndarray:
        return np.array([found[name, *problem].at(part * most[problem]) for problem in problems])

    def costs(name: str, target: str) -> float:
        """Median share of the budget that ``name`` takes to what ``target`` has reached in the end."""
        ends = {problem: found[target, *problem].hypervolume[-1] for problem in problems}
        return float(np.median([found[name, *problem].cost(ends[problem]) / most[problem] for problem in problems]))

    ratios = []
    for part in FRACTIONS:
        best = max(peers, key=lambda name: float(np.median(volumes(name, part))))
        ratios.append(float(np.median(volumes("ours", part) / volumes(best, part))))
    last = max(peers, key=lambda name: float(np.median(volumes(name, 1.0))))
    result = {
        "hv_vs_best_peer": min(ratios),
        "tokens_vs_random": costs("ours", "random"),
        "tokens_vs_best_peer": costs("ours", last),
    }
    if "ours unraced" in names:
        result["racing_saving"] = float(np.median([_saving(found, problem) for problem in problems]))
    return {name: round(value, 3) for name, value in result.items()}


def _saving(found: Found, problem: tuple[str, int]) -> float:
    """Tokens without racing over tokens with it, to the hypervolume that both reach."""
    raced, whole = (found[name, *problem] for name in ("ours", "ours unraced"))
    level = min(max(raced.hypervolume), max(whole.hypervolume))
    return whole.cost(level) / raced.cost(level)


def table(found: Found, names: Sequence[str]) -> list[dict[str, Any]]:
    """A row per setting and search: hypervolume in units of random's last, and the winner's smallest retention; each as
    median, least and largest over landscapes."""
    rows: list[dict[str, Any]] = []
    for setting in dict.fromkeys(key[1] for key in found):
        for name in names:
            own = {seed: curve for (n, s, seed), curve in found.items() if (n, s) == (name, setting)}
            random = {seed: found["random", setting, seed] for seed in own}
            row: dict[str, Any] = {"setting": setting, "search": name}
            for part in FRACTIONS:
                values = [c.at(part * random[n].tokens[-1]) / random[n].hypervolume[-1] for n, c in own.items()]
                row[f"hv {part:g}"] = _band(values)
            row["winner"] = _band([curve.winner for curve in own.values()])
            row["trials"] = int(np.median([curve.trials for curve in own.values()]))
            rows.append(row)
    return rows


def _band(values: Sequence[float]) -> list[float]:
    return [round(float(value), 3) for value in (np.median(values), min(values), max(values))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--landscapes", type=int, default=5, help="of each setting")
    parser.add_argument("--budget", type=int, default=120, help="candidates of random search")
    parser.add_argument("--only", help="some of the searches, by commas; random and ours are always among them")
    parser.add_argument("--settings", type=int, default=len(SETTINGS), help="the first so many settings")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/search.json")
    given = parser.parse_args()
    asked = set(given.only.split(",") if given.only else SEARCHES) | {"random", "ours"}
    names = [name for name in SEARCHES if name in asked]
    found = runs(names, list(SETTINGS)[: given.settings], given.landscapes, given.budget, given.processes)
    rows = table(found, names)
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    result = summary(found, names)
    if given.keep:
        keep("search", {**result, "budget": given.budget, "landscapes": given.landscapes, "rows": rows})
    print(json.dumps(result))


if __name__ == "__main__":
    main()
