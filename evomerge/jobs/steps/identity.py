"""List the values that make scores comparable: a search resumes in a folder only if all of them are unchanged."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from evomerge.evaluation.harness_task import SPLIT_SEED
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.task_base import EvalTask, Item
from evomerge.evaluation.task_files import find_task
from evomerge.evaluation.worker import WorkerSpec, open_tasks
from evomerge.files.digests import digest_files, digest_model
from evomerge.recipes.space import SearchSpace
from evomerge.types import SPLITS
from evomerge.weights.sources import resolve, resolve_weights

_HALVES = "search and selection items"


def open_and_identify(
    settings: Mapping[str, Mapping[str, Any]], runaway: float | None, spec: WorkerSpec, space: SearchSpace
) -> tuple[dict[str, Any], dict[str, dict[str, str]]]:
    """Open the tasks in this process, before any work, so that a bad data file or a missing sandbox is refused at once.

    Returns:
        :func:`identity`, and task -> item -> prompt of the test items.
    """
    with Judge(spec.sandbox) as judge:
        tasks = open_tasks(spec, judge)
        if any(task.judged for task in tasks.values()):
            logging.getLogger(__name__).info("answers are judged in a sandbox: %s", judge.level)
        found = identity(settings, runaway, spec, space, tasks)
        return found, {name: {item.id: item.prompt for item in task.items("test")} for name, task in tasks.items()}


def identity(
    settings: Mapping[str, Mapping[str, Any]],
    runaway: float | None,
    spec: WorkerSpec,
    space: SearchSpace,
    tasks: Mapping[str, EvalTask],
) -> dict[str, Any]:
    """Plain values by the settings they belong to, for :meth:`evomerge.search.store.Store.begin`.

    Files count by their contents, not only by their names: an adapter that was trained again in its folder is another.

    Args:
        settings: of the tasks, by their names.
        runaway: the setting ``search.runaway``.
        tasks: the opened tasks.

    Raises:
        UserError: a task that is searched for lacks items of a split.
    """
    searched = {name for name, task in settings.items() if task["objective"]}
    items = {
        name: {split: task.items(split) for split in (SPLITS if name in searched else ("test",))}
        for name, task in tasks.items()
    }
    return {
        **{f"tasks.{name}": dict(values) for name, values in settings.items()},
        "space.methods": list(space.methods),
        "space.layer_groups": space.layer_groups,
        "space.modifiers": list(space.modifiers),
        "space.weight_low and weight_high": list(space.weight_range),
        "space.seed": space.seed,
        "dtype": spec.dtype,
        "space.dtype": space.dtype,
        "sandbox limits": spec.sandbox.limits,
        "search.runaway": runaway,
        "contents of models.base": digest_model(resolve(spec.base)),
        **{
            f"contents of models.experts.{expert.name}": digest_model(resolve_weights(expert.source))
            for expert in spec.experts
        },
        **{
            f"items of tasks.{task.name}": _digest_items(items[task.name])
            for task in spec.tasks
            if _is_editable(task.task)
        },
        **{
            f"{_HALVES} of tasks.{task.name}": f"halves of a shuffle with seed {SPLIT_SEED}"
            for task in spec.tasks
            if not _is_editable(task.task)
        },
    }


def earlier_versions(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What searches of earlier versions did, by keys of ``identity`` that their folders lack.

    They gave every second item of a task of lm-eval to the search and the others to the selection. Such a folder must
    not go on with other items. And they learned no weights."""
    halves = {key: "every second item" for key in identity if key.startswith(_HALVES)}
    return {**halves, "search.learned": "false"}


def _is_editable(task: str) -> bool:
    """Whether a user can edit the task's data. Of lm-eval's own tasks some shuffle their documents in each process."""
    return find_task(task) is not None


def _digest_items(items: Mapping[str, tuple[Item, ...]]) -> str:
    contents = cache(lambda file: digest_files([Path(file)]))

    def by_contents(values: dict[str, Any]) -> dict[str, Any]:
        """Replace a database file's stamp, its size and time, by a digest of its contents."""
        return {**values, "stamp": contents(values["file"])} if {"file", "stamp"} <= values.keys() else values

    digest = hashlib.sha256()
    for split, own in items.items():
        for item in own:
            values = asdict(item)
            if isinstance(judged := item.document.get("item"), str):
                values["document"]["item"] = json.loads(judged, object_hook=by_contents)
            digest.update(f"{split}\0{json.dumps(values, sort_keys=True, default=lambda x: type(x).__name__)}".encode())
    return digest.hexdigest()[:16]
