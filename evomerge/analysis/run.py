"""Open a run in a notebook: tables, front and winner, and models and scores of any recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import pandas as pd

from evomerge.report.results import Results, results
from evomerge.report.run_data import RunData
from evomerge.report.run_frames import front_frame, hypervolume_frame, items_frame, trials_frame
from evomerge.types import Recipe

if TYPE_CHECKING:
    from evomerge.analysis.recipe_scorer import Scored, Scorer


class Run:
    """A run folder, as it was when it was opened; open it again to see what a running search has added.

    Every attribute of :class:`evomerge.report.run_data.RunData` (``tasks``, ``records``, ``winner``, ``recipe(7)`` ...)
    is one of this object's, too.

    Args:
        folder: for example ``outputs/sql_code_json``.

    Attributes:
        data: what the folder says.

    Raises:
        UserError: the folder is missing or holds no run.
    """

    def __init__(self, folder: Path | str) -> None:
        self.data = RunData(folder)
        self._scorers: dict[tuple[int | None, Path | None], Scorer] = {}

    def __getattr__(self, name: str) -> Any:
        if name == "data":  # not set yet: the object is being copied or unpickled
            raise AttributeError(name)
        return getattr(self.data, name)

    def __dir__(self) -> Iterable[str]:
        return sorted({*super().__dir__(), *dir(self.data)})

    def __repr__(self) -> str:
        data = self.data
        return f"Run({str(data.folder)!r}): {len(data.records)} trials of {', '.join(data.tasks)}"

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row per candidate, see :func:`evomerge.report.run_frames.trials_frame`."""
        return trials_frame(self.data)

    @cached_property
    def items(self) -> pd.DataFrame:
        """A row per candidate, split and item, with outcome, answer and the task's further metrics."""
        return items_frame(self.data)

    def front(self) -> pd.DataFrame:
        """The rows of :attr:`trials` on the front, best smallest retention first."""
        return front_frame(self.trials)

    def hypervolume(self) -> pd.DataFrame:
        """Hypervolume after each scored trial, see :func:`evomerge.report.run_frames.hypervolume_frame`."""
        return hypervolume_frame(self.data)

    @cached_property
    def results(self) -> Results:
        """Base, experts, anchors and winner on the test items, compared item by item."""
        return results(self.data)

    def table(self) -> pd.DataFrame:
        """The results table on the test items; empty while nothing was scored there."""
        return self.results.frame()

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
        from evomerge.cluster.machine import cores
        from evomerge.engine.export import export_model
        from evomerge.engine.load_merger import recipe_merger

        return export_model(recipe_merger(own), own, Path(folder), threads=cores())

    def score(
        self, recipe: Recipe | int, split: str = "search", *, limit: int | None = None, cache: Path | str | None = None
    ) -> Scored:
        """Score any recipe as this run scored its own: with its tasks and backend, in this process.

        Scores that the run has recorded are used, and nothing is added to the run. The model stays loaded for the next
        recipe. Relative data files are looked up from the working directory, as the search did.

        Args:
            recipe: a recipe or a trial's number.
            split: ``search``, ``selection`` or ``test``; the search has chosen by the first two.
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
        """Score recipes and compare each with ``reference`` (None: the winner), item by item.

        Arguments are those of :meth:`score`, columns those of :func:`evomerge.report.paired.differences`, with rows of
        the smallest retention if every task has an expert. The test items are the default: the others overrate the
        winner, which was chosen by them.

        Raises:
            UserError: see :meth:`score`; or no reference is given and there is no winner yet.
        """
        from evomerge.analysis.rescore import compare

        own = {name: self._recipe(recipe) for name, recipe in recipes.items()}
        against = None if reference is None else self._recipe(reference)
        return compare(self.data, self._scorer(limit, cache), own, against, split)

    def _recipe(self, recipe: Recipe | int) -> Recipe:
        return recipe if isinstance(recipe, Recipe) else self.data.recipe(recipe)

    def _scorer(self, limit: int | None, cache: Path | str | None) -> Scorer:
        # imported late: it loads torch, which reading a run does not need
        from evomerge.analysis.rescore import scorer_of

        key = limit, None if cache is None else Path(cache)
        if key not in self._scorers:
            self._scorers[key] = scorer_of(self.data, limit, cache)
        return self._scorers[key]
