"""Settings of a tracker; light."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackingSettings:
    """The keys of ``tracking``: where else a search's metrics go.

    Attributes:
        kind: name of a registered tracker, or ``none``.
        project: under which W&B lists the run.
    """

    kind: str = "none"
    project: str = "evomerge"
