"""Fill a run folder with plausible trials through the store's interface, as input for tests of the report."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import optuna
import yaml

from evomerge.recipes.recipe_yaml import dump
from evomerge.recipes.space import SearchSpace
from evomerge.search.choose import choose, finalists, scored
from evomerge.search.distributions import distributions
from evomerge.search.evaluations import control_key
from evomerge.search.store import Store
from evomerge.types import Candidate, Done, Expert, ItemScore, Objective, Recipe, Trial, scores_by_task

TASKS = ("sql", "code", "json")
HOSTILE = (
    "<script>document.title='owned'</script></script><img src=x onerror=\"document.title='owned'\"><!-- &amp; \u2028"
)
BEST = {"sql": 0.62, "code": 0.45, "json": 0.86, "humaneval": 0.06}
BASE = {"sql": 0.04, "code": 0.25, "json": 0.08, "humaneval": 0.05}


def space(tasks: tuple[str, ...] = TASKS) -> SearchSpace:
    return SearchSpace(
        base="base-model",
        experts=tuple(Expert(task, f"experts/{task}") for task in tasks),
        methods=("task_arithmetic", "linear", "ties", "dare_linear"),
        layer_groups=4,
        weight_range=(0.0, 1.2),
    )


def skill(recipe: Recipe, task: str) -> float:
    """A smooth landscape: own weight helps up to a point, the others' weights disturb.

    The json expert disturbs most and needs least, so that no equal weights are the best."""
    if task == "humaneval":
        return 0.05
    names = [expert.name for expert in recipe.experts]
    weight = {name: sum(row[t] for row in recipe.weights) / len(recipe.weights) for t, name in enumerate(names)}
    needed = 0.45 if task == "json" else 0.8
    disturbed = sum(own * (0.4 if name == "json" else 0.05) for name, own in weight.items() if name != task)
    gain = max(0.0, 1 - (max(0.0, needed - weight[task]) / needed) ** 2 - disturbed)
    gain *= 0.9 if recipe.method in ("ties", "dare_linear") else 1.0
    return BASE[task] + (BEST[task] - BASE[task]) * gain


def items(recipe: Recipe, task: str, split: str, count: int) -> tuple[ItemScore, ...]:
    """Outcomes by item difficulty, the same for all models: paired as real ones are."""
    found = []
    for n in range(count):
        own = random.Random(f"{task}-{split}-{n}-{recipe.fingerprint}").random() * 0.2
        hard = random.Random(f"{task}-{split}-{n}").random() * 0.8
        right = own + hard < skill(recipe, task)
        answer = {"sql": f" SELECT name FROM t WHERE id = {n}", "code": "\n    return a + b"}.get(task, ' {"hive": 4}')
        if not right:
            answer = HOSTILE if n % 7 == 1 else " I think the answer is 4."
        found.append(ItemScore(task, f"{task}_{n:03d}", float(right), answer, {"valid": float(right or n % 2)}))
    return tuple(found)


def fabricate(
    folder: Path, budget: int = 40, tasks: tuple[str, ...] = TASKS, finished: bool = True, failures: int = 2
) -> Path:
    """A run folder as ``job=search`` leaves it; ``finished=False``: as an interrupted search does."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {task: {"task": task, "expert": task, "objective": True} for task in tasks}
    settings["humaneval"] = {"task": "humaneval", "expert": tasks[0], "objective": False}
    config = {
        "job": "search",
        "name": folder.name,
        "models": {"base": "base-model", "experts": {task: f"experts/{task}" for task in tasks}},
        "search": {"sampler": "gp", "budget": budget, "seed": 0},
        "tasks": settings,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    store, own, draw = Store(folder), space(tasks), random.Random(0)
    store.begin({"tasks": list(tasks)}, directions=len(tasks))
    sampler = optuna.samplers.RandomSampler(seed=0)
    anchors = own.anchors()
    for label, recipe in anchors:
        store.enqueue(own.encode(recipe), label)
    while len(store.trials()) < budget:
        if len(store.trials()) >= len(anchors):
            weights = {f"weight.g{g}.{t}": round(draw.uniform(0.35, 1.0), 3) for g in range(4) for t in tasks}
            store.enqueue({**own.encode(anchors[0][1]), **weights})
        asked = store.ask(sampler, distributions(own.parameters))
        number, candidate = asked.number, Candidate(asked.number, own.decode(asked.params), asked.params, asked.label)
        if store.find(candidate.recipe.fingerprint):
            store.tell_duplicate(number, number, None)
            continue
        store.accept(candidate)
        if len(anchors) <= len(store.trials()) < len(anchors) + failures:
            done = Done(str(number), (), 3.0, "namespaces", "RuntimeError: <b>out of memory</b> while merging")
        else:
            scores = tuple(item for task in tasks for item in items(candidate.recipe, task, "search", 80))
            done = Done(str(number), scores, 9.5 + draw.random(), "namespaces")
        trial = store.record(candidate, done)
        store.tell(number, None if done.error else [1 - score.mean for score in trial.scores.values()])
    if finished:
        _finish(folder, store, tasks)
    store.close()
    return folder


def _finish(folder: Path, store: Store, tasks: tuple[str, ...]) -> None:
    objectives = [Objective(task, task) for task in tasks]
    trials = scored(store.trials())
    rows = finalists(trials, objectives, 6)
    by_label = {trial.label: trial for trial in trials if trial.label}

    def score(trial: Trial, split: str, task: str) -> None:
        done = Done("x", items(trial.recipe, task, split, 120), 11.0, "namespaces")
        store.record_evaluation(trial.recipe.fingerprint, split, done)

    for task in tasks:
        for trial in [by_label[f"expert:{task}"], *rows]:
            score(trial, "selection", task)
    referenced = [
        Objective(t, t, _mean(store, by_label[f"expert:{t}"].recipe.fingerprint, "selection", t)) for t in tasks
    ]
    chosen = rows[
        choose(
            [scores_by_task(store.evaluation(r.recipe.fingerprint, "selection", tasks) or ()) for r in rows], referenced
        )
    ]
    for trial in by_label.values():
        for task in tasks:
            score(trial, "test", task)
        if trial.label in ("base", f"expert:{tasks[0]}"):
            score(trial, "test", "humaneval")
    best = folder / "best"
    best.mkdir(exist_ok=True)
    for task in (*tasks, "humaneval"):
        score(chosen, "test", task)
    control = tuple(replace(item, outcome=0.0) for task in tasks for item in items(chosen.recipe, task, "test", 120))
    store.record_evaluation(control_key(chosen.recipe), "test", Done("x", control, 11.0, "namespaces"))
    scores = {
        task: vars(scores_by_task(items(chosen.recipe, task, "test", 120))[task]) for task in (*tasks, "humaneval")
    }
    (best / "scores.json").write_text(json.dumps({"model": scores, "lora": {t: scores[t] for t in tasks}}))
    (best / "recipe.yaml").write_text(dump(chosen.recipe))
    (folder / "environment.json").write_text(
        json.dumps(
            {
                "versions": {"evomerge": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
                "machine": {"processor": "2 cores", "memory_gib": 8},
                "seconds": {"search": 512.3, "selection": 80.1, "export": 12.0, "test": 140.2},
            }
        )
    )


def _mean(store: Store, fingerprint: str, split: str, task: str) -> float:
    scores = store.evaluation(fingerprint, split, (task,))
    assert scores is not None
    return sum(item.outcome for item in scores) / len(scores)
