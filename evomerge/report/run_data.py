"""A run folder as Python objects: trials, items, front, recipes, winner. Writes nothing; reads unfinished runs, too."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pandas as pd

from evomerge.errors import UserError
from evomerge.report import run_folder, winner
from evomerge.report.run_frames import hypervolume_frame, items_frame, trials_frame
from evomerge.search import choose
from evomerge.search.pareto import smallest_retention
from evomerge.search.store import Store
from evomerge.types import ItemScore, Objective, Recipe, Score, Trial, scores_by_task

if TYPE_CHECKING:
    from evomerge.analysis.recipe_scorer import Scored, Scorer
    from evomerge.report.results import Results


class Run:
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
        self._scorers: dict[tuple[int | None, Path | None], Scorer] = {}

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}): {len(self.records)} trials of {', '.join(self.tasks)}"

    # --- what was asked ----------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return str(self.config.get("name") or self.folder.resolve().name)

    @property
    def budget(self) -> int | None:
        """Candidates the search was asked to score."""
        return (self.config.get("search") or {}).get("budget")

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks searched for."""
        return tuple(name for name, task in self._tasks.items() if task.get("objective", True))

    @property
    def side_tasks(self) -> tuple[str, ...]:
        """Names of the tasks that are reported beside the search."""
        return tuple(name for name in self._tasks if name not in self.tasks)

    def expert_of(self, task: str) -> str | None:
        """The task's specialist."""
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
        """The tasks searched for; references are the specialists' scores on the search items, where finished."""
        return choose.with_references([Objective(task, self.expert_of(task)) for task in self.tasks], self.records)

    @cached_property
    def environment(self) -> dict[str, Any]:
        """``environment.json``: versions, machine, seconds per phase; empty where it was not written yet."""
        return run_folder.environment(self.folder)

    # --- what was scored ---------------------------------------------------------------------------------------

    @property
    def scored(self) -> list[Trial]:
        """Trials that did not fail."""
        return choose.scored(self.records)

    @property
    def failures(self) -> list[Trial]:
        """Trials that failed; ``error`` says why."""
        return [trial for trial in self.records if trial.error is not None]

    def anchor(self, label: str) -> Trial | None:
        """The scored trial with this label (``"base"``, ``"expert:sql"``, ``"uniform"`` ...)."""
        return next((trial for trial in self.scored if trial.label == label), None)

    def evaluation(self, trial: Trial, split: str) -> dict[str, tuple[ItemScore, ...]]:
        """Item scores of a trial by task, of those tasks that were scored on ``split`` (search, selection or test).

        The search job measures the winner's test scores on ``best/model``: what is shipped is what is measured.
        """
        if split == "search":
            return {task: tuple(i for i in trial.items if i.task == task) for task in trial.scores}
        fingerprint = trial.recipe.fingerprint
        found = {task: self._store.evaluation(fingerprint, split, (task,)) for task in self._tasks}
        return {task: items for task, items in found.items() if items is not None}

    @cached_property
    def delivered(self) -> dict[str, dict[str, Score]]:
        """``best/scores.json``: test scores by task of the exported ``model`` and ``lora``; empty before the export."""
        return run_folder.delivered(self.folder)

    def scores(self, trial: Trial, split: str = "search") -> dict[str, Score]:
        """Score with 95 % interval by task."""
        return scores_by_task([item for items in self.evaluation(trial, split).values() for item in items])

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row per candidate: scores on the search items (with ``TASK_low`` and ``TASK_high``, the 95 % interval),
        smallest retention, whether it is on the front, and its search parameters."""
        return trials_frame(self)

    def min_retention(self, trial: Trial) -> float:
        """Smallest retention on the search items; NaN for a failed trial."""
        if trial.error is not None:
            return math.nan
        scores = choose.score_matrix([trial.scores], self.objectives)
        return float(smallest_retention(scores, choose.references(self.objectives))[0])

    @cached_property
    def items(self) -> pd.DataFrame:
        """One row per candidate, split and item, with outcome, answer and the task's further metrics."""
        return items_frame(self)

    # --- the front and the winner ------------------------------------------------------------------------------

    @cached_property
    def front_trials(self) -> list[Trial]:
        """Non-dominated trials on the search items, in order of number."""
        return choose.front(self.records, self.objectives)

    def front(self) -> pd.DataFrame:
        """The rows of :attr:`trials` on the front, best smallest retention first."""
        if self.trials.empty:
            return self.trials
        rows = self.trials[self.trials["on_front"]]
        return rows.sort_values(["min_retention", "number"], ascending=[False, True]).reset_index(drop=True)

    @cached_property
    def winner(self) -> Trial | None:
        """The chosen trial; None while the search has not chosen yet.

        That is the recipe in ``best/recipe.yaml``; where there is none, the best on the selection items, as soon as it
        has been scored on the test items, too.
        """
        return winner.winner(self, self._store)

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

    def hypervolume(self) -> pd.DataFrame:
        """Hypervolume after each scored trial: columns ``number``, ``trials`` (finished so far) and ``hypervolume``.

        Of the scores on the search items, in [0, 1]: 1 would be a model that solves every item of every task.
        """
        return hypervolume_frame(self)

    # --- on the test items -------------------------------------------------------------------------------------

    @cached_property
    def results(self) -> Results:
        """Base, specialists, anchors and winner on the test items, compared item by item."""
        from evomerge.report.results import results

        return results(self)

    def table(self) -> pd.DataFrame:
        """The results table on the test items; empty while nothing was scored there."""
        return self.results.frame()

    # --- going on from it --------------------------------------------------------------------------------------

    @overload
    def materialize(self, recipe: Recipe | int, *, device: str = "cpu") -> tuple[Any, Any]: ...

    @overload
    def materialize(self, recipe: Recipe | int, folder: Path | str) -> Path: ...

    def materialize(
        self, recipe: Recipe | int, folder: Path | str | None = None, *, device: str = "cpu"
    ) -> tuple[Any, Any] | Path:
        """A recipe, or that of a trial by its number, as a model.

        Args:
            recipe: any recipe, not only this run's.
            folder: written as ``job=merge`` does, with the base's tokenizer but no card; replaced when it exists.
            device: of the model in memory.

        Returns:
            The transformers model and its tokenizer, ready to generate; or the folder, when one is given.

        Raises:
            UserError: see :meth:`trial`; base or expert is missing, or the method cannot merge them.
        """
        own = self._recipe(recipe)
        if folder is None:
            from evomerge.engine.materialize import materialize

            return materialize(own, device)
        from evomerge.engine.dense.stream import cores
        from evomerge.engine.export import export_model
        from evomerge.engine.load_merger import recipe_merger

        return export_model(recipe_merger(own), own, Path(folder), threads=cores())

    def score(
        self, recipe: Recipe | int, split: str = "search", *, limit: int | None = None, cache: Path | str | None = None
    ) -> Scored:
        """Score any recipe as this run scored its own: with its tasks and backend, in this process.

        What the run has recorded is taken from there, and nothing is added to it. The model stays loaded for the next
        recipe. Relative data files are looked up from the working directory, as the search did.

        Args:
            recipe: a recipe or a trial's number.
            split: ``search``, ``selection`` or ``test``; by the first two the search has chosen.
            limit: at most so many items per task; the recorded scores, which are of more items, are not used then.
            cache: a folder that keeps the scores for the next time; None: they live as long as this object.

        Raises:
            UserError: see :meth:`trial`; models or data are missing, or cannot be merged.
        """
        return self._scorer(limit, cache).score(self._recipe(recipe), split)

    def compare(
        self,
        recipes: Mapping[str, Recipe | int],
        reference: Recipe | int | None = None,
        split: str = "test",
        *,
        limit: int | None = None,
        cache: Path | str | None = None,
    ) -> pd.DataFrame:
        """Score recipes and set each beside ``reference`` (None: the winner), paired item by item.

        Arguments are those of :meth:`score`, columns those of :func:`evomerge.report.paired.differences`, with rows of
        the smallest retention where every task has a specialist. The test items are the default: on the others the
        winner, having been chosen by them, looks better than it is.

        Raises:
            UserError: see :meth:`score`; or no reference is given and there is no winner yet.
        """
        from evomerge.analysis.rescore import compare

        own = {name: self._recipe(recipe) for name, recipe in recipes.items()}
        against = None if reference is None else self._recipe(reference)
        return compare(self, self._scorer(limit, cache), own, against, split)

    def _recipe(self, recipe: Recipe | int) -> Recipe:
        return recipe if isinstance(recipe, Recipe) else self.recipe(recipe)

    def _scorer(self, limit: int | None, cache: Path | str | None) -> Scorer:
        from evomerge.analysis.rescore import scorer_of  # loads what evaluation needs; reading a run does not

        key = limit, None if cache is None else Path(cache)
        if key not in self._scorers:
            self._scorers[key] = scorer_of(self, limit, cache)
        return self._scorers[key]
