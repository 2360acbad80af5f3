"""Jobs by name: what ``job=NAME`` runs, the settings that it reads, and its lines of ``--help``.

A job is one module in :mod:`evomerge.jobs`: a frozen settings class and a function that takes it. ``--help`` and every
command import all of these modules, so a job imports what takes long (torch, above all) inside its function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from evomerge.errors import UserError
from evomerge.registry import Registry
from evomerge.settings import setting_types

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A registered job.

    Attributes:
        settings: frozen dataclass of all settings that the job reads: its options, and sections shared with other jobs.
            A name stands for the same setting in all jobs, so its type and default are the same, too.
        usage: lines of ``--help``.
        run: does the job.
    """

    settings: type[Any]
    usage: str
    run: Callable[[Any], None]

    def reads(self, key: str) -> bool:
        """Whether ``key``, with or without parts (``search.budget``), is a setting of this job."""
        return key.partition(".")[0] in setting_types(self.settings)


JOBS: Registry[Job] = Registry("job", "evomerge.jobs")


def job(name: str, settings: type[T], usage: str) -> Callable[[Callable[[T], None]], Callable[[T], None]]:
    """Decorator that registers a function as ``job=NAME``."""

    def enter(run: Callable[[T], None]) -> Callable[[T], None]:
        JOBS.register(name)(Job(settings, usage, run))
        return run

    return enter


def refuse_others(name: str, keys: list[str]) -> None:
    """
    Raises:
        UserError: one of ``keys``, settings as typed, is read by other jobs and not by ``name``.
    """
    for key in keys:
        owners = [f"job={other}" for other in JOBS if JOBS[other].reads(key)]
        if owners and f"job={name}" not in owners:
            listed = " and ".join(part for part in (", ".join(owners[:-1]), owners[-1]) if part)
            raise UserError(f"{key} belongs to {listed}, got job={name}: leave it out")


def needed(value: T | None, message: str) -> T:
    """``value``, which the job cannot do without.

    Raises:
        UserError: with ``message``, there is none.
    """
    if value is None:
        raise UserError(message)
    return value
