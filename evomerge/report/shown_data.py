"""Data that figures and page are drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evomerge.report.results import display_name
from evomerge.report.run_data import RunData
from evomerge.report.run_frames import hypervolume_frame
from evomerge.report.tables import recipe_file
from evomerge.types import ItemScore, Recipe, Score, Trial

# Kinds of items, the most informative first.
KINDS = (
    "the winner is right, base or expert is not",
    "the winner is wrong, base or expert is right",
    "winner, base and expert are right",
    "winner, base and expert are wrong",
)
LONGEST = 4000  # characters of an answer


@dataclass(frozen=True)
class Point:
    """A scored candidate in the plot of the front. ``recipe``: its file, for members of the front and the winner."""

    number: int
    name: str | None
    method: str
    scores: dict[str, Score]
    min_retention: float
    on_front: bool
    winner: bool
    weights: tuple[tuple[float, ...], ...]
    settings: dict[str, float | str | bool | tuple[float, ...]]
    recipe: str | None


def points(run: RunData) -> list[Point]:
    """Scored candidates in order of number, on the search items."""
    front = {trial.number for trial in run.front_trials}
    winner = None if run.winner is None else run.winner.number
    written = run.recipes
    return [
        Point(
            number=trial.number,
            name=None if trial.label is None else display_name(trial.label),
            method=trial.recipe.method,
            scores=trial.scores,
            min_retention=run.min_retention(trial),
            on_front=trial.number in front,
            winner=trial.number == winner,
            weights=trial.recipe.weights,
            settings=settings(trial.recipe),
            recipe=recipe_file(trial.number) if trial.number in written else None,
        )
        for trial in run.scored
    ]


def settings(recipe: Recipe) -> dict[str, float | str | bool | tuple[float, ...]]:
    """A recipe's parameters other than method and weights: per expert, shared, and of modifiers."""
    modifiers = {f"{name} {key}": value for name, own in recipe.modifiers.items() for key, value in own.items()}
    return {**recipe.expert_parameters, **recipe.parameters, **modifiers}


@dataclass(frozen=True)
class Step:
    """State of the search after a scored candidate: its cost so far, failures included, and its hypervolume.

    ``items`` counts judged answers, ``tokens`` generated ones (None if some candidate's were not counted), ``seconds``
    adds up all evaluations of all workers.
    """

    trials: int
    items: int
    tokens: int | None
    seconds: float
    hypervolume: float


def history(run: RunData) -> list[Step]:
    """A step for each scored candidate, in order of number."""
    found = hypervolume_frame(run)
    volumes: dict[int, float] = dict(zip(found["number"], found["hypervolume"], strict=True))
    steps, items, tokens, seconds = [], 0, 0, 0.0
    counted = True
    for done, trial in enumerate(run.records, start=1):
        items += len(trial.items)
        tokens += int(sum(item.metrics.get("tokens", 0.0) for item in trial.items))
        counted &= trial.error is not None or any("tokens" in item.metrics for item in trial.items)
        seconds += trial.seconds
        if trial.number in volumes:
            known = tokens if counted else None
            steps.append(Step(done, items, known, round(seconds, 1), float(volumes[trial.number])))
    return steps


@dataclass(frozen=True)
class Weights:
    """A recipe's weights (G, T) with the names of its G layer groups and T experts."""

    groups: tuple[str, ...]
    experts: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]


def weights(recipe: Recipe) -> Weights:
    """Weights of a recipe with names; group 1 holds the first layers."""
    count = len(recipe.weights)
    names = ["all layers"] if count == 1 else [f"group {place + 1}" for place in range(count)]
    if count > 1:
        names[0] += " (first layers)"
        names[-1] += " (last layers)"
    return Weights(tuple(names), tuple(expert.name for expert in recipe.experts), recipe.weights)


@dataclass(frozen=True)
class Sample:
    """One test item and the models' answers: rows of (model, answer, outcome)."""

    task: str
    item: str
    kind: str
    question: str | None
    answers: tuple[tuple[str, str, float], ...]


def samples(run: RunData, questions: Mapping[tuple[str, str], str] | None = None) -> list[Sample]:
    """For each searched task, the first test item of each kind, with the answers of base, experts and winner.

    Args:
        run: a run with a winner; without one there are no samples.
        questions: prompts by (task, item), as far as known.
    """
    if run.winner is None:
        return []
    found: list[Sample] = []
    for task in run.tasks:
        expert = run.expert_of(task)
        # The task's expert comes first.
        experts = sorted(run.experts, key=lambda name: name != expert)
        models: list[tuple[str, Trial | None]] = [("base", run.anchor("base"))]
        models += [(f"expert {name}", run.anchor(f"expert:{name}")) for name in experts]
        models.append(("winner", run.winner))
        answers: dict[str, dict[str, ItemScore]] = {
            name: {item.item: item for item in run.evaluation(trial, "test").get(task, ())}
            for name, trial in models
            if trial is not None
        }
        known = {name: own for name, own in answers.items() if own}
        found += _of_each_kind(task, f"expert {expert}", known, questions or {})
    return found


def _of_each_kind(
    task: str, expert: str, answers: Mapping[str, Mapping[str, ItemScore]], questions: Mapping[tuple[str, str], str]
) -> list[Sample]:
    """The first item of each pattern of right and wrong answers, the most informative patterns first.

    A pattern is of base, expert and winner: with the experts of other tasks, nearly every item would have its own.
    """
    if "winner" not in answers:
        return []
    first: dict[str, Sample] = {}
    for item, own in answers["winner"].items():
        if not all(item in other for other in answers.values()):
            continue
        right = own.outcome >= 0.5
        others = [answers[name][item].outcome >= 0.5 for name in ("base", expert) if name in answers]
        unanimous = all(other == right for other in others)
        kind = KINDS[(2 if unanimous else 0) + (0 if right else 1)]
        rows = tuple((name, _short(other[item].answer), other[item].outcome) for name, other in answers.items())
        first.setdefault(kind, Sample(task, item, kind, questions.get((task, item)), rows))
    return [first[kind] for kind in KINDS if kind in first]


def _short(answer: str) -> str:
    """The answer, cut to a length that fits a phone's page."""
    return answer if len(answer) <= LONGEST else answer[:LONGEST] + f" ... ({len(answer) - LONGEST} characters more)"


def flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as a list of (dotted name, value).

    >>> flat({"machine": {"cores": 2}, "python": "3.11"})
    [('machine.cores', 2), ('python', '3.11')]
    """
    rows: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", value))
    return rows
