"""What a tracker plug-in is: a place for numbers by step that knows what it already holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from evomerge.registry import Registry

# The number by which a sink finds out which trials it holds.
TRIAL = "search/trial"


@dataclass(frozen=True)
class TrackingSetup:
    """What a sink is built from.

    Attributes:
        folder: the run folder; a sink keeps its files in a folder of its own below it.
        name: of the run.
        project: under which a service lists the run.
    """

    folder: Path
    name: str
    project: str = "evomerge"


class Sink(Protocol):
    """Takes numbers. Building one only makes sure that it can be opened; it opens with the first :meth:`write`."""

    def numbers(self) -> Sequence[int]:
        """Numbers of the trials that earlier runs have written, in the order of their steps."""
        ...

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers by name at a step, 1 for the first; :data:`TRIAL` among them. Out of this process's hands when it
        returns: a kill does not lose them."""
        ...

    def close(self) -> None: ...


TRACKERS: Registry[Callable[[TrackingSetup], Sink]] = Registry("tracking.kind", "evomerge.search.tracking")
