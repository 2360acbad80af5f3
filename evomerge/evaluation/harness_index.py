"""Find lm-eval's tasks by name, and load them without its waits for the hub.

lm-eval reads all its 14,000 YAML files to know any name (7 s), imports metrics from the hub while a YAML is read, and
retries an unreachable hub for 23 s per data set. This module reads only the folder that defines the name, refuses the
hub's metrics, and tests once whether the hub can be reached.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import logging
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import datasets
import huggingface_hub.constants
import lm_eval.tasks
from datasets.exceptions import DatasetNotFoundError
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from evomerge.errors import UserError, nearest

_ROOT = Path(lm_eval.tasks.__file__).parent
_REACHED_WITHIN = 3.0  # seconds
_GROUP = re.compile(r"""^group:\s*['"]?([^'"\s]+)['"]?\s*$""", re.MULTILINE)


def load_leaves(name: str, own: list[str]) -> dict[str, ConfigurableTask]:
    """The tasks behind a name of a task, group or tag of lm-eval, or behind a YAML file.

    Args:
        own: names of evomerge's tasks, for the error text.

    Raises:
        UserError: no such task, its data cannot be loaded, or it needs something that evomerge does not load.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
        if not path.is_file():
            raise UserError(f"no task file {path}: give the YAML file of an lm-eval task or group")
        manager = TaskManager(include_path=str(path.resolve().parent), include_defaults=False)
        group = _GROUP.search(path.read_text(encoding="utf-8"))
        # A task by its path: its name may occur in several files of the folder. A group by its name: lm-eval takes the
        # path of one for a list of tasks.
        return _load(group[1] if group else str(path), manager)
    for folder in _folders_that_define(name):
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        if name in manager.all_tasks:
            with contextlib.suppress(KeyError):  # a group of tasks that lie in other folders
                return _load(name, manager)
    with quiet_harness():
        manager = TaskManager()
    if name not in manager.all_tasks:
        raise UserError(f"unknown task '{name}': {nearest(name, [*own, *manager.all_tasks])}")
    return _load(name, manager)


def is_harness_name(name: str) -> bool:
    """Whether lm-eval's files define a task, group or tag of this name; reads their texts only."""
    return next(_folders_that_define(name), None) is not None


@contextlib.contextmanager
def quiet_harness() -> Iterator[None]:
    """Silence lm-eval's remarks on every task it reads."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _load(name: str, manager: TaskManager) -> dict[str, ConfigurableTask]:
    _be_offline_if_unreachable()
    try:
        with quiet_harness(), _no_metrics_from_the_hub(name):
            leaves = manager.load(name)["tasks"]
    except (ConnectionError, FileNotFoundError, DatasetNotFoundError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"task '{name}' cannot get its data ({reason}): load it once where the hub can be reached, with HF_HOME on "
            "a disk that this machine sees"
        ) from error
    except ImportError as error:
        raise UserError(f"task '{name}' needs a package that is not installed: {error}") from error
    for leaf, task in leaves.items():
        if not isinstance(task, ConfigurableTask):
            raise UserError(f"task '{leaf}' is written in Python outside lm-eval's YAML form: choose another task")
    return dict(leaves)


def _folders_that_define(name: str) -> Iterator[Path]:
    """Folders directly under lm-eval's tasks whose files define ``name``, likely ones first."""
    line = re.compile(
        rf"^(?:task|group|tag):\s*['\"]?{re.escape(name)}['\"]?\s*$|^\s+- {re.escape(name)}\s*$", re.MULTILINE
    )

    def likeness(folder: Path) -> tuple[int, str]:
        pairs = zip(folder.name.replace("-", "_"), name.replace("-", "_"), strict=False)
        shared = len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))
        return -shared, folder.name

    for folder in sorted((entry for entry in _ROOT.iterdir() if entry.is_dir()), key=likeness):
        for path in folder.rglob("*.yaml"):
            if line.search(path.read_text(encoding="utf-8", errors="replace")):
                yield folder
                break


@contextlib.contextmanager
def _no_metrics_from_the_hub(name: str) -> Iterator[None]:
    """Refuse ``evaluate.load``: it fetches code from the hub and runs it, some tasks' while their YAML is read."""
    if importlib.util.find_spec("evaluate") is None:
        yield
        return
    import evaluate  # type: ignore[import-untyped]

    original = evaluate.load

    def refuse(metric: str, *_: Any, **__: Any) -> Any:
        raise UserError(
            f"task '{name}' loads the metric '{metric}' from the hub, which evomerge does not: choose a task with "
            "metrics of lm-eval itself, or evomerge's own humaneval or mbpp"
        )

    evaluate.load = refuse
    try:
        yield
    finally:
        evaluate.load = original


def _be_offline_if_unreachable() -> None:
    """If the hub cannot be reached, set its libraries offline: they retry each look-up five times."""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        datasets.config.HF_HUB_OFFLINE = True
        return
    address = urlparse(huggingface_hub.constants.ENDPOINT)
    try:
        socket.create_connection((address.hostname or "", address.port or 443), _REACHED_WITHIN).close()
    except OSError:
        huggingface_hub.constants.HF_HUB_OFFLINE = True
        datasets.config.HF_HUB_OFFLINE = True
