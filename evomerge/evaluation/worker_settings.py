"""From plain settings, as a run's ``config.yaml`` has them, to what a worker is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evomerge.errors import UserError, nearest
from evomerge.evaluation.judging.sandbox import SandboxSettings
from evomerge.evaluation.task_settings import TaskSpec, task_settings
from evomerge.evaluation.worker import WorkerSpec
from evomerge.inference.device import default_device, default_dtype
from evomerge.types import Expert

# Of the configuration's sections: a worker's setting by the setting's name there.
_WORKER = {
    "backend": {"kind": "backend", "batch_size": "batch_size", "dtype": "dtype", "device": "device"},
    "cluster": {"threads": "threads", "timeout": "seconds"},
}


def worker_spec(settings: Mapping[str, Any], base: str, experts: tuple[Expert, ...]) -> WorkerSpec:
    """The worker of the sections ``tasks``, ``backend``, ``cluster`` and ``sandbox``; what is left out has its default.

    No device means cuda where there is one, else the CPU; no dtype the one that the device is fast in.

    Raises:
        UserError: no tasks, or a setting of a task or the sandbox that cannot be.
    """
    given: dict[str, Any] = {}
    for section, names in _WORKER.items():
        own = settings.get(section) or {}
        given |= {ours: own[theirs] for theirs, ours in names.items() if theirs in own}
    device = given.get("device") or default_device()
    return WorkerSpec(
        **{**given, "device": device, "dtype": given.get("dtype") or default_dtype(device)},
        sandbox=SandboxSettings(**(settings.get("sandbox") or {})),
        base=base,
        experts=experts,
        tasks=task_specs(settings.get("tasks") or {}),
    )


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
