"""Score recipes as a run scored its own, and compare them with one reference item by item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from evomerge.analysis.recipe_scorer import Known, Scorer
from evomerge.errors import UserError
from evomerge.evaluation.judging.sandbox import SandboxSettings
from evomerge.evaluation.worker import WorkerSpec
from evomerge.evaluation.worker_settings import worker_spec
from evomerge.inference.backend_settings import BackendSettings
from evomerge.report.paired import differences
from evomerge.report.run_data import RunData
from evomerge.settings import from_mapping
from evomerge.types import Expert, ItemScore, Recipe


def scorer_of(run: RunData, limit: int | None = None, cache: Path | str | None = None) -> Scorer:
    """A scorer with the run's backend and the tasks it searched for; see :meth:`evomerge.analysis.run.Run.score`."""
    base = run.records[0].recipe.base if run.records else str(run.config["models"]["base"])
    spec = worker_spec_of(run.config, base, ())
    tasks = tuple(task for task in spec.tasks if task.name in run.tasks)
    if limit is not None:
        tasks = tuple(replace(task, limit=min(limit, task.limit or limit)) for task in tasks)
    return Scorer(replace(spec, tasks=tasks), cache, _recorded(run) if limit is None else None)


def worker_spec_of(config: Mapping[str, Any], base: str, experts: tuple[Expert, ...]) -> WorkerSpec:
    """The specification of a worker from the ``config.yaml`` of a run, read as plain values.

    Raises:
        UserError: an unknown setting, or one that cannot be.
    """
    backend = from_mapping(BackendSettings, config.get("backend"), "backend")
    sandbox = from_mapping(SandboxSettings, config.get("sandbox"), "sandbox")
    return worker_spec(base, experts, config.get("tasks") or {}, backend, sandbox)


def compare(
    run: RunData, scorer: Scorer, recipes: Mapping[str, Recipe], reference: Recipe | None, split: str
) -> pd.DataFrame:
    """See :meth:`evomerge.analysis.run.Run.compare`."""
    if reference is None:
        if run.winner is None:
            raise UserError(f"{run.folder} has no winner yet: name the reference, a recipe or a trial's number")
        reference = run.winner.recipe
    anchors = {task: run.anchor(f"expert:{run.expert_of(task)}") for task in run.tasks}
    alone = {task: scorer.score(a.recipe, split, (task,)).items for task, a in anchors.items() if a is not None}
    return differences(
        scorer.score(reference, split).items,
        {name: scorer.score(recipe, split).items for name, recipe in recipes.items()},
        alone if alone.keys() == anchors.keys() else None,
    )


def _recorded(run: RunData) -> Known:
    trials = {trial.recipe.fingerprint: trial for trial in run.scored}

    def find(fingerprint: str, split: str, task: str) -> tuple[ItemScore, ...] | None:
        trial = trials.get(fingerprint)
        return None if trial is None else run.evaluation(trial, split).get(task)

    return find
