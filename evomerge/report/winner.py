"""The winner of a run, as far as it has come."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from evomerge.recipes import load
from evomerge.search import choose
from evomerge.search.store import Store
from evomerge.types import Objective, Trial

if TYPE_CHECKING:
    from evomerge.report.run import Run


def winner(run: Run, store: Store) -> Trial | None:
    """See :attr:`Run.winner`."""
    path = run.folder / "best" / "recipe.yaml"
    if path.is_file():
        found = store.find(load(path).fingerprint)
        if found is not None:
            return found
    finalists = [t for t in run.scored if set(run.tasks) <= run.evaluation(t, "selection").keys()]
    objectives = _referenced(run, "selection")
    if not finalists or any(o.expert is not None and o.reference is None for o in objectives):
        return None
    best = finalists[choose.choose([run.scores(t, "selection") for t in finalists], objectives)]
    return best if set(run.tasks) <= run.evaluation(best, "test").keys() else None


def _referenced(run: Run, split: str) -> tuple[Objective, ...]:
    """Objectives with the specialists' scores on ``split`` as references."""
    found = []
    for task in run.tasks:
        objective = Objective(task, run.expert_of(task))
        specialist = run.anchor(f"expert:{objective.expert}")
        score = None if specialist is None else run.scores(specialist, split).get(task)
        found.append(objective if score is None else replace(objective, reference=score.mean))
    return tuple(found)
