"""Claim a run folder for a search, or refuse it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evomerge.search.base import Space
from evomerge.search.samplers import SAMPLERS
from evomerge.search.store import Store
from evomerge.types import Objective


def begin_run(
    store: Store,
    space: Space,
    objectives: Sequence[Objective],
    sampler: str,
    identity: Mapping[str, Any] | None = None,
    earlier: Mapping[str, Any] | None = None,
    *,
    whole: bool = True,
) -> None:
    """Claim the run folder for this search, or refuse; see :meth:`Store.begin`.

    :func:`evomerge.search.loop.run_search` calls it too. A job that records evaluations before the search calls it
    first.

    Args:
        identity: further values that make scores comparable.
        earlier: what folders of earlier versions did, by keys of ``identity`` that these lack.
        whole: whether the space's parameters are known already; a job may learn some of them first."""
    scalar = SAMPLERS[sampler].scalar
    # The first difference is named in the error: settings come before the values that follow from them.
    values: dict[str, Any] = {
        "tasks": [objective.task for objective in objectives],
        "base": space.base,
        "experts": [[expert.name, expert.source] for expert in space.experts],
        **(identity or {}),
    }
    if whole:
        values["parameters"] = [
            [p.name, *p.choices] if p.kind == "categorical" else [p.name, p.low, p.high, p.step]
            for p in space.parameters
        ]
    values["objective"] = "smallest retention (one number)" if scalar else "one loss per task"
    store.begin(values, 1 if scalar else len(objectives), earlier)
