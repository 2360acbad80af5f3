"""Choose the winner among the best candidates, and the better of two adapters of it, on the selection items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from evomerge.errors import RunFailed
from evomerge.jobs.steps.export_winner import Better
from evomerge.jobs.steps.scored_once import Measurement, Request, recipe_request
from evomerge.search.choose import choose, finalists, with_references
from evomerge.types import Artifact, Objective, Trial

FINALISTS = 8  # candidates that are scored on the selection items,
ANCHORS = 2  # and this number of the best anchors: the search has not fitted anchors to the search items


def select(measurement: Measurement, trials: Sequence[Trial]) -> Trial:
    """The winner: of the best on the search items, the one with the largest smallest retention on the selection items.

    The search items do not count a second time. Finalists are finalists because they scored high on them, by merit and
    by luck, and anchors are not fitted to them, so that the pooled mean is too large by a different amount for each.
    Pooling chose no better on simulated landscapes either: true retention -0.003 +- 0.009 (15 landscapes).

    Raises:
        RunFailed: no candidate could be scored.
    """
    # by retention, as the winner is: the raw score of a hard task would decide the order
    ranked = finalists(trials, with_references(measurement.objectives, trials), len(trials))
    experts_alone = _experts_alone(measurement)
    failed: set[int] = set()
    while True:
        left = [trial for trial in ranked if trial.number not in failed]
        best = left[:FINALISTS]
        best += [trial for trial in left if trial.label][:ANCHORS]
        requests = {
            trial.number: recipe_request(
                f"#{trial.number} {trial.label or trial.recipe.method}", trial.recipe, measurement.tasks
            )
            for trial in best
        }
        if not requests:
            raise RunFailed("no candidate could be scored on the selection items, evaluations.jsonl says why")
        lost = measurement.score(list(experts_alone.values()), "selection", list(requests.values()))
        if not lost:
            break
        failed |= {number for number, request in requests.items() if request in lost}  # the next one takes its place
    chosen = _best(measurement, list(requests.values()))
    return next(trial for trial in best if trial.number == list(requests)[chosen])


def better_lora(measurement: Measurement, key: str) -> Better:
    """Chooses among adapters as among candidates.

    Args:
        key: of the adapter in the store; the way it was made is added to it.
    """

    def better(adapters: Mapping[str, Artifact]) -> str:
        requests = {
            how: Request(f"best/lora {how}", adapter, measurement.tasks, f"{key}-{how}")
            for how, adapter in adapters.items()
        }
        lost = measurement.score((), "selection", list(requests.values()))
        requests = {how: request for how, request in requests.items() if request not in lost}
        if not requests:
            raise RunFailed("no best/lora could be scored on the selection items, evaluations.jsonl says why")
        return list(requests)[_best(measurement, list(requests.values()))]

    return better


def _best(measurement: Measurement, requests: Sequence[Request]) -> int:
    """Number of the request with the largest smallest retention of the experts' own scores."""
    alone = {
        task: measurement.scores(request, "selection")[task].mean
        for task, request in _experts_alone(measurement).items()
    }
    objectives: list[Objective] = [
        replace(objective, reference=alone.get(objective.task)) for objective in measurement.objectives
    ]
    return choose([measurement.scores(request, "selection") for request in requests], objectives)


def _experts_alone(measurement: Measurement) -> dict[str, Request]:
    """Task -> the expert alone whose score is the task's reference."""
    return {
        objective.task: recipe_request(label, measurement.anchors[label], (objective.task,))
        for objective in measurement.objectives
        if (label := f"expert:{objective.expert}") in measurement.anchors
    }
