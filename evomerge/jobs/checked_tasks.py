"""Check the settings of a job's tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evomerge.errors import UserError
from evomerge.types import Objective


def checked_tasks(tasks: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """All settings of each task, those that were left out with their defaults.

    Raises:
        UserError: a setting that the task does not have, or that cannot be.
    """
    from evomerge.evaluation.task_settings import task_settings  # late: all scorers

    for name, values in tasks.items():
        if not isinstance(values, Mapping):
            raise UserError(f"tasks.{name} takes names and values (tasks.{name}.KEY=VALUE), got tasks.{name}={values}")
    return {name: task_settings(name, values).settings for name, values in tasks.items()}


def objectives_of(tasks: Mapping[str, Mapping[str, Any]]) -> tuple[Objective, ...]:
    """The tasks that are searched for, with the experts that their scores are compared with."""
    return tuple(Objective(name, task["expert"]) for name, task in tasks.items() if task["objective"])
