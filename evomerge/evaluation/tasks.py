"""Tasks by name: evomerge's own, any of lm-eval's, or a YAML file; each with per-item outcomes."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from evomerge.errors import UserError
from evomerge.evaluation.documents import ItemOptions
from evomerge.evaluation.harness_index import load_leaves, quiet_harness
from evomerge.evaluation.harness_task import HarnessTask
from evomerge.evaluation.judged_task import OwnTask
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.task_base import EvalTask, TaskSpec, Template
from evomerge.files.package_data import data_dir

__all__ = ["EvalTask", "TaskSpec", "load_tasks", "tasks_folder"]

USER_ANSWER = 256  # tokens; how long the answers to a user's items are, nobody has measured

# Which of a task's settings only tasks of these judges know.
_KINDS = {"compare": "sql", "strip_fence": "json", "style": "code"}


def load_tasks(
    specs: Sequence[TaskSpec],
    judge: Judge,
    template: Callable[[], Template] | None = None,
    can_sample: bool = True,
) -> dict[str, EvalTask]:
    """Build tasks once, by name.

    Args:
        judge: who judges the answers; the caller closes it.
        template: opens the model's chat format; asked only if a task wants it.
        can_sample: whether the backend draws samples; otherwise greedy answers are scored by pass@1, which is logged.

    Raises:
        UserError: an unknown task, a name given twice, a setting that the task does not know, or a data file that is
            not as it should be.
    """
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two tasks are called '{name}': names of tasks must differ")
    tasks: dict[str, EvalTask] = {}
    own = sorted(path.stem for path in tasks_folder().glob("*/*.yaml"))
    for spec in specs:
        opened = None
        if spec.chat:
            if template is None:
                raise UserError(f"tasks.{spec.name} wants chat prompts, and no model's chat format is known here")
            opened = template()
        if spec.task in own:
            tasks[spec.name] = _own(_greedy(spec) if spec.samples > 1 and not can_sample else spec, judge, opened)
        else:
            _refuse_own_settings(spec)
            tasks[spec.name] = HarnessTask(spec, load_leaves(spec.task, own), opened)
    return tasks


def tasks_folder() -> Path:
    """Folder of the lm-eval tasks shipped with evomerge, for ``lm_eval --include_path``."""
    return data_dir("tasks")


def _own(spec: TaskSpec, judge: Judge, template: Template | None) -> OwnTask:
    metadata: dict[str, Any] = dataclasses.asdict(spec.options)
    if spec.data is not None:
        metadata["data"] = spec.data
    # Without lm-eval's own tasks: indexing their names takes 7 s.
    manager = TaskManager(include_path=str(tasks_folder() / spec.task), include_defaults=False, metadata=metadata)
    with quiet_harness():
        task = manager.load(spec.task)["tasks"][spec.task]
    assert isinstance(task, ConfigurableTask)
    kind = task.config.metadata["judge"]
    for key, owner in _KINDS.items():
        if getattr(spec.options, key) != getattr(ItemOptions(), key) and kind != owner:
            raise UserError(f"tasks.{spec.name}.{key} is for {owner} tasks, and '{spec.task}' is a {kind} task")
    if spec.num_fewshot:
        raise UserError(f"tasks.{spec.name}.num_fewshot: '{spec.task}' is defined without examples, leave it out")
    longest = spec.max_new_tokens or (None if spec.data is None else USER_ANSWER)
    if longest is not None:
        task.set_config("generation_kwargs", {"max_gen_toks": longest}, update=True)
    return OwnTask(spec, task, judge, template)


def _greedy(spec: TaskSpec) -> TaskSpec:
    logging.getLogger("evomerge").warning(
        "tasks.%s: this backend does not sample, so pass@1 of the greedy answer is scored instead of pass@%d",
        spec.name,
        spec.k[0],
    )
    return dataclasses.replace(spec, samples=1, k=(1,), metric=None)


def _refuse_own_settings(spec: TaskSpec) -> None:
    own = {"data": spec.data is not None, "samples": spec.samples > 1}
    own |= {key: getattr(spec.options, key) != getattr(ItemOptions(), key) for key in _KINDS}
    for key, given in own.items():
        if given:
            raise UserError(
                f"tasks.{spec.name}.{key} is for evomerge's own tasks, and '{spec.task}' is one of lm-eval's"
            )
