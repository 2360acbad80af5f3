"""Find task files: the folder of tasks shipped with evomerge, and the scorer that a task's YAML file names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evomerge.errors import UserError
from evomerge.files.package_data import data_dir


@dataclass(frozen=True)
class TaskFile:
    """A task's YAML file.

    Attributes:
        scorer: name of the scorer that judges its answers in the sandbox; None: lm-eval's metrics score them.
    """

    path: Path
    scorer: str | None


class _Loader(yaml.SafeLoader):
    """Reads lm-eval's tags as text."""


_Loader.add_multi_constructor("!", lambda loader, tag, node: getattr(node, "value", None))


def tasks_folder() -> Path:
    """Folder of the lm-eval tasks shipped with evomerge, for ``lm_eval --include_path``."""
    return data_dir("tasks")


def task_names() -> list[str]:
    """Tasks of that folder, ``NAME/NAME.yaml`` each."""
    return sorted(path.stem for path in tasks_folder().glob("*/*.yaml") if path.stem == path.parent.name)


def find_task(task: str) -> TaskFile | None:
    """The file of a task under tasks/, or of a path; None: the name is lm-eval's, if anybody's.

    Raises:
        UserError: no such file, or it cannot be read.
    """
    path = Path(task).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        if task not in task_names():
            return None
        path = tasks_folder() / task / f"{task}.yaml"
    if not path.is_file():
        raise UserError(f"no task file {path}: give the YAML file of an lm-eval task or group")
    try:
        values: Any = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read task file {path}: {' '.join(str(error).split())}") from None
    metadata = values.get("metadata") if isinstance(values, dict) else None
    scorer = metadata.get("scorer") if isinstance(metadata, dict) else None
    return TaskFile(path, None if scorer is None else str(scorer))
