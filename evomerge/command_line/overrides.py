"""Words of the command line as Hydra's overrides.

The declared type of a setting says how its value is read: text as it was typed, whatever characters are in it, so that
a path needs no quotes of Hydra's; anything else by Hydra's grammar.
"""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Quote, QuotedString

from evomerge.command_line import options
from evomerge.command_line.choices import choices, groups
from evomerge.command_line.schema import all_settings
from evomerge.errors import UserError, nearest
from evomerge.settings import KINDS, setting_types, without_none

_CHOICE = object()  # of a group: the name of a file in conf/GROUP
_WORD = re.compile(r"(?P<mark>\+\+|\+|~|)(?P<key>[^=]*)(?:=(?P<value>.*))?", re.DOTALL)
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)
_SEVERAL = re.compile(r"[^\[{'\"]*,.*|(choice|range|interval|glob)\(.*\)|\[.*\],.*|'[^']*',.*", re.DOTALL)  # for -m
_SWEPT = re.compile(r"(choice|range|interval|glob)\(.*\)|.*\$\{.*", re.DOTALL)
_REFERENCE = re.compile(r"(?<!\\)\$\{([\w.]+)\}")
_SCALARS = {
    int: re.compile(r"[+-]?\d+(_\d+)*"),
    float: re.compile(r"[+-]?(\d+(_\d+)*\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf|nan", re.IGNORECASE),
    bool: re.compile(r"true|false|yes|no|on|off|[01]", re.IGNORECASE),
}


def read(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Options (``-m``, ``--cfg job`` ...) as they are, and overrides that Hydra's grammar reads.

    Raises:
        UserError: an unknown option or setting, a word without a value, or a value of the wrong form.
    """
    dashed, words = options.split(arguments)
    sweep = not {"-m", "--multirun"}.isdisjoint(dashed)
    elsewhere = any(option.startswith(("--config-", "-cd", "-cp")) for option in dashed)  # more choices than conf/ has
    words = _with_harness_tasks(_with_own_base(words))
    return dashed, [_override(word, sweep, elsewhere) for word in words]


def typed_settings(arguments: Sequence[str]) -> list[str]:
    """Keys of the settings as they were typed; left out are Hydra's own, and experiments, which may hold any."""
    matches = [_WORD.fullmatch(word) for word in options.split(arguments)[1]]
    keys = [match["key"].strip() for match in matches if match is not None]
    return [key for key in keys if not _is_hydras(key) and key not in ("job", "experiment")]


def _override(word: str, sweep: bool, elsewhere: bool) -> str:
    match = _WORD.fullmatch(word)
    assert match is not None
    mark, key, value = match["mark"], match["key"], match["value"]
    if _is_hydras(key) or (mark == "~" and value is None):
        return word
    if value is None or not key or key != key.strip():
        raise UserError(f"'{word}' is no setting: write KEY=VALUE, with no space before or after the equals sign")
    value = value.strip()
    if not value:
        raise UserError(f"{key} has no value: write {key}=VALUE")
    for reference in _REFERENCE.findall(value):
        _declared(reference)
    several = _SEVERAL.fullmatch(value) is not None
    if key in groups():
        mark = "+" if key == "experiment" else ""  # none is chosen by default
        form: Any = list[str] if value.startswith("[") or (several and key == "tasks") else _CHOICE
        if not elsewhere:
            _check_choices(key, value)
    else:
        owner, declared = _declared(key)
        form = without_none(declared)
        mark = "" if is_dataclass(owner) and typing.get_origin(form) is not dict else "++"  # an expert of any name
        if form is Any and not is_dataclass(owner):  # an option of any type, of a sampler
            form = next((kind for kind, pattern in _SCALARS.items() if pattern.fullmatch(value)), Any)
        if value == "null" and form is declared and form is not Any:
            raise UserError(f"{key} takes {_kind(key)}, got {key}=null")
    return f"{mark}{key}={value if sweep and several else _value(key, form, value, several)}"


def _is_hydras(key: str) -> bool:
    return key == "hydra" or key.startswith(("hydra.", "hydra/"))


def _check_choices(group: str, value: str) -> None:
    """
    Raises:
        UserError: ``value`` names something that ``conf/GROUP`` does not have.
    """
    known = [*choices(group), *(Path(file).stem for file in ConfigStore.instance().repo.get(group) or ())]
    for name in [] if _SWEPT.fullmatch(value) else re.split(r"\s*,\s*", value.strip("[] ")):
        if name.strip("'\"") not in known:
            raise UserError(f"unknown {group} '{name}': {nearest(name, choices(group))}")


def _value(key: str, form: Any, value: str, several: bool) -> str:
    """The value as Hydra's grammar reads it."""
    listed = value.startswith("[") and value.endswith("]")
    if _QUOTED.fullmatch(value) or value.startswith("${") or (form is Any and listed):
        return value
    if form in (str, Any) and not listed:
        return value if value == "null" else _quoted(value)
    if form is _CHOICE and not several:
        return _quoted(value)
    if typing.get_origin(form) is list and listed and _all_fit(form, value):
        return value
    if form in _SCALARS and (value == "null" or _SCALARS[form].fullmatch(value)):
        return value
    if (is_dataclass(form) or dict in (form, typing.get_origin(form))) and value.startswith("{"):
        return value
    bare, cure = value.strip("[], "), ""
    if typing.get_origin(form) is list and not listed:
        cure = f": write {key}=[{bare}]"
    elif form not in _SCALARS or listed or several:
        cure = f": -m {key}={bare} makes a run of each" if listed or several else ""
    raise UserError(f"{key} takes {_kind(key)}, got {key}={value}{cure}")


def _all_fit(form: Any, value: str) -> bool:
    (element,) = typing.get_args(form)
    entries = value[1:-1].split(",") if value[1:-1].strip() else []
    return element is str or all(_SCALARS[element].fullmatch(entry.strip()) for entry in entries)


def _quoted(text: str) -> str:
    if text.startswith("~/"):  # which a shell leaves as it is after an equals sign
        text = os.path.expanduser(text)
    return QuotedString(text, Quote.single).with_quotes()


def _kind(key: str) -> str:
    """What a setting takes, for error texts."""
    if key in groups():
        return "a list of names" if key == "tasks" else f"one of {', '.join(choices(key))}"
    form = without_none(_declared(key)[1])
    if is_dataclass(form):
        return f"settings of its own ({', '.join(f'{key}.{name}' for name in form.__dataclass_fields__)})"
    return KINDS.get(form, f"names and values ({key}.NAME=VALUE)")


def _declared(key: str) -> tuple[Any, Any]:
    """Types of what a setting belongs to (a dataclass or a mapping) and of the setting itself.

    Raises:
        UserError: there is no such setting.
    """
    owner: Any = None
    form: Any = all_settings()
    path = key.split(".")
    for place, name in enumerate(path):
        owner = without_none(form)
        if is_dataclass(owner):
            known = setting_types(typing.cast(type[Any], owner))
            if name not in known:
                hint = nearest(name, known) if place else _nearest(name, known)
                raise UserError(f"unknown setting '{key}': {hint}")
            form = known[name]
        elif typing.get_origin(owner) is dict:
            form = dict if path[0] == "tasks" else typing.get_args(owner)[1]
        elif owner is dict:
            from evomerge.evaluation.task_settings import setting_forms  # late: all scorers

            known = setting_forms()
            if name not in known:
                raise UserError(f"unknown setting '{key}': {nearest(name, known)}")
            form = known[name]
        else:
            raise UserError(f"unknown setting '{key}': {'.'.join(path[:place])} has no parts")
    return owner, form


def _nearest(name: str, known: dict[str, Any]) -> str:
    """A setting that was named without its section is found there."""
    inside = [section for section, form in known.items() if is_dataclass(form) and name in form.__dataclass_fields__]
    return f"did you mean '{inside[0]}.{name}'?" if inside else nearest(name, known)


def _with_own_base(words: Sequence[str]) -> list[str]:
    """Let ``models.base=MODEL`` begin with no experts: those of the default choice were made for its own base."""
    named = any(word.startswith("models.base=") for word in words) and not any(w.startswith("models=") for w in words)
    return ["models=own", *words] if named else list(words)


def _with_harness_tasks(words: Sequence[str]) -> list[str]:
    """Let ``tasks=[sql,gsm8k]`` name tasks without a file in conf/tasks: those under tasks/ and lm-eval's, and YAML
    files by their paths. The group ``tasks`` gets an entry for each; a path's never takes the place of a file there.

    Other unknown names stay as they are, so that the error suggests a known one.
    """
    given: list[str] = []
    for word in words:
        match = re.fullmatch(r"tasks=\[?([^\[\]={}]+)\]?", word)
        names = [name.strip() for name in match.group(1).split(",") if name.strip()] if match else []
        entries = [_entry(name) for name in names]
        called = [Path(name).stem if _is_path(name) else name for name in names]
        for name in called:
            if called.count(name) > 1 and entries != names:
                raise UserError(f"two tasks are called '{name}': names of tasks must differ, rename the file")
        given.append(word if entries == names else f"tasks=[{','.join(entries)}]")
    return given


def _entry(name: str) -> str:
    """The entry of the group ``tasks`` for a name or a path."""
    if _is_path(name):
        key, entry = Path(name).stem, f"{Path(name).stem}@file"
    elif name in choices("tasks"):
        return name
    else:
        # late: rarely needed, and the index takes seconds to import
        from evomerge.evaluation.harness_index import is_harness_name
        from evomerge.evaluation.task_files import find_task

        if find_task(name) is None and not is_harness_name(name):
            return name
        key = entry = name
    ConfigStore.instance().store(group="tasks", name=entry, node={key: {"task": name}})
    return entry


def _is_path(name: str) -> bool:
    return Path(name).suffix in (".yaml", ".yml")
