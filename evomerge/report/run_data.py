"""Read a run folder, finished or not, as Python values: what was asked, trials, scores, front and winner."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from evomerge.errors import UserError
from evomerge.recipes.recipe_yaml import load
from evomerge.report import run_folder
from evomerge.search import choose
from evomerge.search.evaluations import control_key
from evomerge.search.pareto import smallest_retention
from evomerge.search.store import Store
from evomerge.types import ItemScore, Objective, Recipe, Score, Trial, scores_by_task


class RunData:
    """A run folder, as it was when it was opened; open it again to see what a running search has added.

    Args:
        folder: for example ``outputs/sql_code_json``.

    Raises:
        UserError: the folder is missing or holds no run.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.config = run_folder.config(self.folder)
        self._store = Store(self.folder)
        self.records: tuple[Trial, ...] = tuple(self._store.trials())

    def __repr__(self) -> str:
        return f"RunData({str(self.folder)!r}): {len(self.records)} trials of {', '.join(self.tasks)}"

    # --- what was asked ----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return str(self.config.get("name") or self.folder.resolve().name)

    @property
    def budget(self) -> int | None:
        """Number of candidates that the search was asked to score."""
        return (self.config.get("search") or {}).get("budget")

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks searched for."""
        return tuple(name for name, task in self._tasks.items() if task.get("objective", True))

    @property
    def side_tasks(self) -> tuple[str, ...]:
        """Names of the tasks that are only reported."""
        return tuple(name for name in self._tasks if name not in self.tasks)

    def expert_of(self, task: str) -> str | None:
        """Name of the task's expert."""
        expert = self._tasks[task].get("expert")
        return None if expert is None else str(expert)

    @property
    def experts(self) -> tuple[str, ...]:
        return tuple((self.config.get("models") or {}).get("experts") or {})

    @property
    def _tasks(self) -> dict[str, dict[str, Any]]:
        return self.config.get("tasks") or {}

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """The searched tasks; references are the experts' scores on the search items, once finished."""
        return self._objectives_on("search")

    @cached_property
    def environment(self) -> dict[str, Any]:
        """``environment.json``: versions, machine, seconds per phase; empty while it is not written yet."""
        return run_folder.environment(self.folder)

    # --- what was scored ---------------------------------------------------------------------------------------

    @property
    def scored(self) -> list[Trial]:
        """Trials that were scored on all search items: they neither failed nor were stopped."""
        return choose.scored(self.records)

    @property
    def stopped(self) -> list[Trial]:
        """Trials that racing stopped; their scores are of part of the search items."""
        return [trial for trial in self.records if trial.stopped]

    @property
    def failures(self) -> list[Trial]:
        """Trials that failed; ``error`` says why."""
        return [trial for trial in self.records if trial.error is not None]

    def anchor(self, label: str) -> Trial | None:
        """The scored trial with this label (``"base"``, ``"expert:sql"``, ``"uniform"`` ...)."""
        return next((trial for trial in self.scored if trial.label == label), None)

    def evaluation(self, trial: Trial, split: str) -> dict[str, tuple[ItemScore, ...]]:
        """Item scores of a trial by task, for the tasks that were scored on ``split`` (search, selection or test).

        The search job measures the winner's test scores on ``best/model``: what is shipped is what is measured.
        """
        if split == "search":
            return {task: tuple(i for i in trial.items if i.task == task) for task in trial.scores}
        return self._evaluation(trial.recipe.fingerprint, split)

    def alone(self, expert: str | None, split: str) -> dict[str, tuple[ItemScore, ...]]:
        """Item scores of an expert alone by task, also of one that is no anchor; empty if there are none."""
        trial = self.anchor(f"expert:{expert}")
        if trial is not None:
            return self.evaluation(trial, split)
        fingerprint = self._store.identity.get("references", {}).get(f"expert:{expert}")
        return {} if fingerprint is None else self._evaluation(fingerprint, split)

    def _evaluation(self, fingerprint: str, split: str) -> dict[str, tuple[ItemScore, ...]]:
        found = {task: self._store.evaluation(fingerprint, split, (task,)) for task in self._tasks}
        return {task: items for task, items in found.items() if items is not None}

    @cached_property
    def control(self) -> dict[str, tuple[ItemScore, ...]]:
        """Test items by task of the random adapter of best/lora's size; empty unless it was scored."""
        if self.winner is None:
            return {}
        key = control_key(self.winner.recipe)
        found = {task: self._store.evaluation(key, "test", (task,)) for task in self.tasks}
        return {task: items for task, items in found.items() if items is not None}

    @cached_property
    def delivered(self) -> dict[str, dict[str, Score]]:
        """``best/scores.json``: test scores by task of the exported ``model`` and ``lora``; empty before the export."""
        return run_folder.delivered(self.folder)

    def scores(self, trial: Trial, split: str = "search") -> dict[str, Score]:
        """Score with 95 % interval by task."""
        return scores_by_task([item for items in self.evaluation(trial, split).values() for item in items])

    def min_retention(self, trial: Trial) -> float:
        """Smallest retention on the search items; NaN for a trial that failed or was stopped."""
        if trial.error is not None or trial.stopped:
            return math.nan
        scores = choose.score_matrix([trial.scores], self.objectives)
        return float(smallest_retention(scores, choose.references(self.objectives))[0])

    # --- the front and the winner ------------------------------------------------------------------------------

    @cached_property
    def front_trials(self) -> list[Trial]:
        """Non-dominated trials on the search items, in order of number."""
        return choose.front(self.records, self.objectives)

    @cached_property
    def winner(self) -> Trial | None:
        """The chosen trial; None while the search has not chosen yet.

        It is the trial of ``best/recipe.yaml``. Without that file it is the best trial on the selection items, once
        it has been scored on the test items.
        """
        path = self.folder / "best" / "recipe.yaml"
        if path.is_file():
            delivered = self._store.find(load(path).fingerprint)
            if delivered is not None:
                return delivered
        finalists = [t for t in self.scored if set(self.tasks) <= self.evaluation(t, "selection").keys()]
        objectives = self._objectives_on("selection")
        if not finalists or any(o.expert is not None and o.reference is None for o in objectives):
            return None
        best = finalists[choose.choose([self.scores(t, "selection") for t in finalists], objectives)]
        return best if set(self.tasks) <= self.evaluation(best, "test").keys() else None

    def _objectives_on(self, split: str) -> tuple[Objective, ...]:
        """Objectives whose references are the experts' scores on ``split``."""
        referenced = []
        for task in self.tasks:
            objective = Objective(task, self.expert_of(task))
            score = scores_by_task(self.alone(objective.expert, split).get(task, ())).get(task)
            referenced.append(objective if score is None else replace(objective, reference=score.mean))
        return tuple(referenced)

    @property
    def recipes(self) -> dict[int, Recipe]:
        """Recipes of the front's members by number, and the winner's."""
        kept = self.front_trials + ([] if self.winner is None else [self.winner])
        return {trial.number: trial.recipe for trial in sorted(kept, key=lambda trial: trial.number)}

    def trial(self, number: int) -> Trial:
        """Any finished trial.

        Raises:
            UserError: there is none with this number.
        """
        for trial in self.records:
            if trial.number == number:
                return trial
        known = f"{self.records[0].number} to {self.records[-1].number}" if self.records else "none yet"
        raise UserError(f"{self.folder} has no finished trial {number}: numbers known are {known}")

    def recipe(self, number: int) -> Recipe:
        """The recipe of any finished trial."""
        return self.trial(number).recipe
