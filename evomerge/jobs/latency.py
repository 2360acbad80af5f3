"""``job=latency``: measure how fast a model answers and what it takes, beside the base with its adapters."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evomerge.errors import UserError
from evomerge.inference.backend_settings import BackendSettings
from evomerge.inference.serving.latency_settings import LatencySettings
from evomerge.jobs.registry import job, needed


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        run: folder of a run: its winner, and the base and adapters that it was merged from, are measured.
        model: name of the model to measure instead.
        adapter: name of a LoRA adapter on it.
        base, adapters: names of a base and its adapters to measure beside it.
        out: JSON file for the figures.

    Raises:
        UserError: no model, or settings that contradict each other.
    """

    run: Any = None
    model: str | None = None
    adapter: str | None = None
    base: str | None = None
    adapters: list[str] = field(default_factory=list)
    out: str | None = None
    latency: LatencySettings = field(default_factory=LatencySettings)
    backend: BackendSettings = field(default_factory=BackendSettings)

    def __post_init__(self) -> None:
        if self.run is None:
            if bool(self.adapters) != (self.base is not None):
                raise UserError(
                    "the model is compared with a base and its adapters: give both base=... and adapters=[...]"
                )
            needed(self.model, "job=latency needs model=DIR or run=DIR, for example run=outputs/default")
            return
        given = [key for key in ("model", "adapter", "base", "adapters") if getattr(self, key)]
        if given:
            raise UserError(f"run= names model, base and adapters itself: leave out {given[0]}=")
        if isinstance(self.run, list):
            raise UserError(f"job=latency takes one run, got {len(self.run)} (run={self.run})")


@job(
    "latency",
    Settings,
    """\
python -m evomerge job=latency run=DIR [latency.batch_sizes=[1,8,32]]  winner beside base with adapters: ms per token
    or model=DIR, and beside it base=DIR adapters=[DIR,DIR]""",
)
def run(settings: Settings) -> None:
    """Print times and sizes of ``model``, and of ``base`` with ``adapters``; ``out=FILE`` keeps them as JSON."""
    # late: torch
    from evomerge.jobs.steps.measure_latency import measured, servings_beside, winner_of, write

    if settings.run is None:
        servings = servings_beside(str(settings.model), settings.adapter, settings.base, settings.adapters)
    else:
        servings = winner_of(Path(str(settings.run)))
    found = measured(servings, settings.latency, settings.backend)
    if settings.out is not None:
        write(Path(settings.out), found)
