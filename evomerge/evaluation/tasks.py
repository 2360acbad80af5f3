"""Load tasks by name: judged ones and any of lm-eval's, under tasks/, in lm-eval or by a YAML file's path."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any

from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks import TaskManager

from evomerge.errors import UserError
from evomerge.evaluation.harness_index import load_leaves, quiet_harness
from evomerge.evaluation.harness_task import HarnessTask
from evomerge.evaluation.judged_task import JudgedTask
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.scorers.base import SCORERS, Scorer
from evomerge.evaluation.task_base import EvalTask, Template
from evomerge.evaluation.task_files import TaskFile, find_task, task_names
from evomerge.evaluation.task_settings import TaskSpec

USER_ANSWER = 256  # tokens: default answer length for the user's data


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
    for spec in specs:
        file = find_task(spec.task)
        if file is None or file.scorer is None:
            opened = _opened(template, spec.name) if spec.chat_template else None
            name = spec.task if file is None else str(file.path)
            tasks[spec.name] = HarnessTask(spec, load_leaves(name, task_names()), opened)
        else:
            tasks[spec.name] = _judged(spec, file, SCORERS[file.scorer], judge, template, can_sample)
    return tasks


def _judged(
    spec: TaskSpec,
    file: TaskFile,
    scorer: Scorer,
    judge: Judge,
    template: Callable[[], Template] | None,
    can_sample: bool,
) -> JudgedTask:
    if not can_sample:
        spec = _greedy(spec, scorer)
    chat = spec.chat_template or scorer.is_message(spec.options, chat=False)
    opened = _opened(template, spec.name) if chat else None
    metadata: dict[str, Any] = dataclasses.asdict(spec.options)
    if spec.data is not None:
        metadata["data"] = spec.data
    # Without lm-eval's own tasks: indexing their names takes 7 s.
    manager = TaskManager(include_path=str(file.path.resolve().parent), include_defaults=False, metadata=metadata)
    with quiet_harness():
        (task,) = manager.load(str(file.path))["tasks"].values()
    assert isinstance(task, ConfigurableTask)
    longest = spec.max_new_tokens or (None if spec.data is None else USER_ANSWER)
    if longest is not None:
        task.set_config("generation_kwargs", {"max_gen_toks": longest}, update=True)
    return JudgedTask(spec, task, scorer, judge, opened)


def _opened(template: Callable[[], Template] | None, name: str) -> Template:
    if template is None:
        raise UserError(f"tasks.{name} wants chat prompts, and no model's chat format is known here")
    return template()


def _greedy(spec: TaskSpec, scorer: Scorer) -> TaskSpec:
    options = scorer.greedy(spec.options)
    if options == spec.options:
        return spec
    wanted, given = scorer.metric_names(spec.options)[0], scorer.metric_names(options)[0]
    logging.getLogger("evomerge").warning(
        "tasks.%s: this backend does not sample, so %s of the greedy answer is scored instead of %s",
        spec.name,
        given,
        wanted,
    )
    return dataclasses.replace(spec, options=options, metric=None)
