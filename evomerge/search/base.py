"""Protocols of the search's neighbours: a space to search, and a listener to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from evomerge.types import Candidate, Expert, Objective, Recipe, Trial


class Parameter(Protocol):
    """One dimension of the space: ``kind`` is ``float`` (low, high, step, log) or ``categorical`` (choices)."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def step(self) -> float | None: ...
    @property
    def log(self) -> bool: ...
    @property
    def choices(self) -> tuple[str, ...]: ...


class Space(Protocol):
    """What the search needs of :class:`evomerge.recipes.space.SearchSpace`."""

    @property
    def base(self) -> str: ...
    @property
    def experts(self) -> tuple[Expert, ...]: ...
    @property
    def parameters(self) -> Sequence[Parameter]: ...
    def decode(self, params: Mapping[str, Any]) -> Recipe: ...
    def encode(self, recipe: Recipe) -> Mapping[str, Any]: ...
    def anchors(self) -> Sequence[tuple[str, Recipe]]: ...


class Listener(Protocol):
    """The search tells it what happens, in order, from its own thread."""

    def started(self, objectives: Sequence[Objective], budget: int, workers: int, trials: Sequence[Trial]) -> None:
        """``trials``: what earlier runs of the same command finished."""
        ...

    def submitted(self, candidate: Candidate) -> None: ...

    def finished(self, trial: Trial) -> None: ...

    def note(self, text: str) -> None:
        """One line a person should see."""
        ...

    def stopped(self) -> None: ...


class Silence:
    """A listener that says nothing."""

    def started(self, objectives: Sequence[Objective], budget: int, workers: int, trials: Sequence[Trial]) -> None:
        pass

    def submitted(self, candidate: Candidate) -> None:
        pass

    def finished(self, trial: Trial) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def stopped(self) -> None:
        pass
