"""Make the specification of a worker from settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evomerge.errors import UserError, nearest
from evomerge.evaluation.judging.sandbox import SandboxSettings
from evomerge.evaluation.task_settings import TaskSpec, task_settings
from evomerge.evaluation.worker import WorkerSpec
from evomerge.inference.backend_settings import BackendSettings
from evomerge.inference.device import default_device, default_dtype
from evomerge.types import Expert


def worker_spec(
    base: str,
    experts: tuple[Expert, ...],
    tasks: Mapping[str, Mapping[str, Any]],
    backend: BackendSettings,
    sandbox: SandboxSettings,
    seconds: float | None = None,
) -> WorkerSpec:
    """A worker's specification from settings.

    Args:
        tasks: settings ``tasks.NAME`` by the tasks' names.
        backend: no device means cuda where there is one, else the CPU; no dtype the one that the device is fast in.
        seconds: that one work may take; None: as long as it takes.

    Raises:
        UserError: no tasks, or a setting of a task that cannot be.
    """
    device = backend.device or default_device()
    filled = replace(backend, device=device, dtype=backend.dtype or default_dtype(device))
    return WorkerSpec(base, experts, task_specs(tasks), filled, sandbox, seconds=seconds)


def task_specs(tasks: Mapping[str, Mapping[str, Any]]) -> tuple[TaskSpec, ...]:
    """Specifications from settings by the tasks' names. A data file is looked up from the working directory.

    Raises:
        UserError: there are none, a data file is missing, or a setting cannot be.
    """
    if not tasks:
        raise UserError("no task given: add tasks=[sql,json]")
    return tuple(_with_file(task_settings(name, values)) for name, values in tasks.items())


def _with_file(spec: TaskSpec) -> TaskSpec:
    return spec if spec.data is None else replace(spec, data=str(_file(spec.data, f"tasks.{spec.name}.data")))


def _file(name: str, key: str) -> Path:
    """A file or a folder."""
    path = Path(name).expanduser()
    if not path.exists():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"{key}: no file '{name}'" + (f": {nearest(path.name, siblings)}" if siblings else ""))
    return path.resolve()
