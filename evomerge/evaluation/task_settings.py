"""Check the settings ``tasks.NAME.*``: those of every task, and those that the task's scorer adds."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

import yaml

from evomerge.errors import UserError, nearest
from evomerge.evaluation.scorers.base import SCORERS, Scorer
from evomerge.evaluation.task_files import find_task
from evomerge.settings import KINDS, setting_types, without_none


@dataclass(frozen=True)
class TaskSpec:
    """A task as asked for.

    Attributes:
        name: what its scores are called.
        task: name of a task under tasks/, of one of lm-eval's own tasks or groups, or a YAML file of one.
        data: the user's data file or folder, or None for the task's own items.
        limit: at most so many items per split; None takes all. Of evomerge's tasks they are spread evenly over the
            items; of lm-eval's they are the first of each subtask, as ``lm_eval --limit`` takes them.
        max_new_tokens: longest answer; None: the task's own number for its own items, 256 for the user's.
        num_fewshot: worked examples in the prompt; None: the task's own number.
        chat_template: whether prompts are put into the model's chat format.
        system_instruction: text of the system message, or before the prompt.
        metric: name of the metric that is the score, ``acc_norm`` or ``exact_match,flexible-extract``; None: the
            task's first.
        expert: the expert whose score is the reference of this task's retention.
        objective: whether the task is searched for; otherwise it is only reported, for base, expert and winner.
        options: the scorer's ``Options``, by default its defaults; None for a task of lm-eval's.

    Raises:
        UserError: a number too small, or a setting that the task does not have.
    """

    name: str
    task: str
    data: str | None = None
    limit: int | None = None
    max_new_tokens: int | None = None
    num_fewshot: int | None = None
    chat_template: bool = False
    system_instruction: str | None = None
    metric: str | None = None
    expert: str | None = field(default=None, repr=False)
    objective: bool = field(default=True, repr=False)
    options: Any = None

    def __post_init__(self) -> None:
        for key, least in (("limit", 1), ("max_new_tokens", 1), ("num_fewshot", 0)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise UserError(f"tasks.{self.name}.{key} must be at least {least}, got {value}")
        scorer = scorer_of(self.task)
        if scorer is None:
            if self.data is not None:
                _refuse(f"tasks.{self.name}.data", "data", self.task, None)
        else:
            if self.num_fewshot:
                key = f"tasks.{self.name}.num_fewshot"
                raise UserError(f"{key}: '{self.task}' is defined without examples, leave it out")
            if self.options is None:
                object.__setattr__(self, "options", scorer.Options())

    @property
    def settings(self) -> dict[str, Any]:
        """All settings ``tasks.NAME.*`` as plain values; :func:`task_settings` makes the same task of them."""
        found = {key: getattr(self, key) for key in _COMMON}
        if self.options is not None:
            found |= {one.name: getattr(self.options, one.name) for one in fields(self.options)}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def _declared(kind: type) -> dict[str, tuple[Any, Any]]:
    """Type and default of each setting that a dataclass declares."""
    forms = setting_types(kind)
    return {one.name: (forms[one.name], None if one.default is MISSING else one.default) for one in fields(kind)}


_COMMON = {key: declared for key, declared in _declared(TaskSpec).items() if key not in ("name", "options")}


def task_settings(name: str, values: Mapping[str, Any]) -> TaskSpec:
    """The task of the mapping ``tasks.NAME``.

    A text is taken for a number, a list or true and false where one is wanted. A setting that only other scorers have
    is accepted at its default, as configurations of old runs hold it.

    Raises:
        UserError: an unknown setting, one that this task does not have, or a value that cannot be.
    """
    if values.get("task") is None:
        key = next(iter(values), "task")
        raise UserError(f"tasks.{name}.{key} is of no chosen task: choose it, for example tasks=[sql,{name}]")
    task = str(values["task"])
    scorer = scorer_of(task)
    own = {} if scorer is None else _declared(scorer.Options)
    given: dict[str, Any] = {}
    for key, value in values.items():
        if key in _COMMON or key in own:
            form = (_COMMON | own)[key][0]
            given[key] = typed(f"tasks.{name}.{key}", form, value)
        elif key not in (others := option_defaults()):
            raise UserError(f"unknown setting 'tasks.{name}.{key}': {nearest(key, [*_COMMON, *own])}")
        elif value != others[key] and not (isinstance(value, list) and tuple(value) == others[key]):
            _refuse(f"tasks.{name}.{key}", key, task, scorer)
    options = None
    if scorer is not None:
        options = options_of(scorer, {key: given.pop(key) for key in own if key in given}, f"tasks.{name}.")
    return TaskSpec(name=name, options=options, **given)


def scorer_of(task: str) -> Scorer | None:
    """The scorer that the task's YAML file names; None: lm-eval's metrics score the task.

    Raises:
        UserError: no such file, or no such scorer.
    """
    file = find_task(task)
    return None if file is None or file.scorer is None else SCORERS[file.scorer]


def options_of(scorer: Scorer, values: Mapping[str, Any], prefix: str = "") -> Any:
    """The scorer's ``Options`` of those of ``values`` that are options; lm-eval passes all of a task's metadata on.

    Raises:
        UserError: a value that cannot be; ``prefix`` stands before its key.
    """
    declared = _declared(scorer.Options)
    given = {key: typed(prefix + key, declared[key][0], values[key]) for key in declared if key in values}
    try:
        return scorer.Options(**given)
    except UserError as error:
        raise UserError(f"{prefix}{error}") from None


def option_defaults() -> dict[str, Any]:
    """Defaults of all scorers' options."""
    return {key: default for name in SCORERS for key, (_, default) in _declared(SCORERS[name].Options).items()}


def setting_defaults() -> dict[str, Any]:
    """Defaults of all settings ``tasks.NAME.*``, whatever the task."""
    return {key: default for key, (_, default) in _COMMON.items()} | option_defaults()


def setting_forms() -> dict[str, Any]:
    """Types of all settings ``tasks.NAME.*``, whatever the task, as a command line takes them: a ``Literal`` is text.
    A setting that two scorers declare with different types is ``Any``: :func:`task_settings` reads its text."""
    forms: dict[str, Any] = {}
    for kind in (TaskSpec, *(SCORERS[name].Options for name in SCORERS)):
        for key, form in setting_types(kind).items():
            form = str if typing.get_origin(form) is Literal else list[int] if form == tuple[int, ...] else form
            forms[key] = form if forms.get(key, form) == form else Any
    return {key: form for key, form in forms.items() if key not in ("name", "options")}


def typed(key: str, form: Any, value: Any) -> Any:
    """``value`` as a setting of type ``form`` holds it.

    Raises:
        UserError: it cannot be; names the key, what was wanted and what came.
    """
    if value is None and without_none(form) is not form:
        return None
    form = without_none(form)
    if typing.get_origin(form) is Literal:
        known = typing.get_args(form)
        if value not in known:
            raise UserError(f"{key} must be one of {', '.join(known)}, got '{value}': {nearest(str(value), known)}")
        return value
    if form is str and isinstance(value, (str, int, float)):
        return str(value)
    read = _of_text(value) if isinstance(value, str) else value
    if form == tuple[int, ...] and isinstance(read, (list, tuple)) and all(type(one) is int for one in read):
        return tuple(read)
    if form is float and type(read) in (int, float):
        return float(read)
    if type(read) is form:
        return read
    raise UserError(f"{key} takes {KINDS[list[int] if form == tuple[int, ...] else form]}, got {key}={value}")


def _of_text(text: str) -> Any:
    with contextlib.suppress(ValueError):
        return float(text) if set(text) & set(".eE") else int(text)
    with contextlib.suppress(yaml.YAMLError):
        return yaml.safe_load(text)
    return text


def _refuse(name: str, key: str, task: str, scorer: Scorer | None) -> None:
    if scorer is None:
        raise UserError(f"{name} is for evomerge's own tasks, and '{task}' is scored by lm-eval")
    owners = [other for other in SCORERS if key in _declared(SCORERS[other].Options)]
    raise UserError(f"{name} is for {' and '.join(owners)} tasks, and '{task}' is a {scorer.name} task")
