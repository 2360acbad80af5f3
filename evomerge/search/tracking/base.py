"""Tracker plug-ins: how one is declared, and the sink that takes a search's metrics."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from evomerge.errors import UserError
from evomerge.registry import Registry

# Name of the metric that holds a trial's number: by it a sink finds which trials it has.
TRIAL = "search/trial"


@dataclass(frozen=True)
class TrackingSetup:
    """What a builder of a sink may use.

    Attributes:
        folder: the run folder; a sink keeps its files in a folder of its own below it.
        name: name of the run.
        project: name of the project under which a service lists the run.
    """

    folder: Path
    name: str
    project: str = "evomerge"


class Sink(Protocol):
    """Takes metrics by step. Building a sink checks that it can be opened; the first :meth:`write` opens it."""

    def numbers(self) -> Sequence[int]:
        """Numbers of the trials that earlier runs have written, in the order of their steps."""
        ...

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Take the metrics of a step, 1 for the first; :data:`TRIAL` is among them. When it returns, a kill of this
        process does not lose them."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class TrackerKind:
    """A registered tracker.

    Attributes:
        build: opens the sink of a run.
        package: Python package that it needs and evomerge does not bring, and the name of evomerge's extra that
            installs it; None: it needs none.
    """

    build: Callable[[TrackingSetup], Sink]
    package: str | None = None


TRACKERS: Registry[TrackerKind] = Registry("tracking.kind", "evomerge.search.tracking")


def open_sink(name: str, setup: TrackingSetup) -> Sink:
    """The sink of the tracker ``name``.

    Raises:
        UserError: no tracker has this name, or its package or login is missing.
    """
    kind = TRACKERS[name]
    if kind.package is not None and importlib.util.find_spec(kind.package) is None:
        raise UserError(f"tracking={name} needs the package {kind.package}: pip install evomerge[{kind.package}]")
    return kind.build(setup)
