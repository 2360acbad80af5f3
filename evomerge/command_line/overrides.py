"""What a person types, as Hydra's overrides; and what Hydra says to it, in one line that names the cure.

The declared type of a setting says how its value is read: text as it was typed, whatever characters are in it, so that
a path needs no quotes of Hydra's; anything else by Hydra's grammar.
"""

from __future__ import annotations

import os
import re
import types
import typing
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import OverrideParseException

from evomerge.config import Config
from evomerge.errors import UserError, nearest
from evomerge.evaluation.task_files import find_task
from evomerge.evaluation.task_settings import setting_forms
from evomerge.files.package_data import data_dir

_KINDS = {
    str: "one value",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list[str]: "a list",
    list[int]: "a list of whole numbers",
}
_CHOICE = object()  # of a group: the name of a file in conf/GROUP
_WORD = re.compile(r"(?P<mark>\+\+|\+|~|)(?P<key>[^=]*)(?:=(?P<value>.*))?", re.DOTALL)
_QUOTED = re.compile(r"'.*'|\".*\"", re.DOTALL)
_SEVERAL = re.compile(r"[^\[{'\"]*,.*|(choice|range|interval|glob)\(.*\)|\[.*\],.*|'[^']*',.*", re.DOTALL)  # for -m


def read(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's options (``-m``, ``--cfg job`` ...) as they are, and overrides that its grammar reads.

    Raises:
        UserError: an unknown option or setting, a word without a value, or a value of the wrong form.
    """
    options, words = _without_options(arguments)
    sweep = not {"-m", "--multirun"}.isdisjoint(options)
    return options, [_override(word, sweep) for word in _with_harness_tasks(_with_own_base(words))]


def one_line(error: Exception) -> str:
    """Hydra's and OmegaConf's texts run over several lines and name no cure."""
    text, cause = str(error), error
    while isinstance(cause.__cause__, Exception):
        cause = cause.__cause__
    if isinstance(error, OverrideParseException):
        return f"cannot read {error.override}: text with special characters goes in quotes, KEY=['...','...']"
    if match := re.match(r"Error merging override \+*([^=~]+)=([^\n]*)", text):
        key, value = match[1], match[2].removesuffix(f": {str(cause).splitlines()[0]}" if str(cause) else "")
        return f"{key} takes {_kind(key)}, got {key}={value}"
    if match := re.search(r"Could not (?:find|load) '([\w-]+)/([^']*)'", text):
        return f"unknown {match[1]} '{match[2]}': {nearest(match[2], _choices(match[1]))}"
    if match := re.search(r"Could not override '(tasks\.([^'.]*)[^']*)'", text):
        return f"{match[1]} is of no chosen task: choose it, for example tasks=[sql,{match[2]}]"
    if match := re.search(r"Interpolation key '([^']*)' not found", text):
        return f"there is no setting '{match[1]}' that ${{{match[1]}}} could stand for: write \\${{ for the characters"
    first, reason = (next(iter(str(e).strip().splitlines()), "").strip() for e in (error, cause))
    return first if reason in first else f"{first}: {reason}" if first else reason


def _without_options(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    parser = get_args_parser()

    def fail(message: str) -> NoReturn:
        raise UserError(f"{message}: python -m evomerge --help shows what there is")

    parser.error = fail  # type: ignore[method-assign]  # it would print the usage, too
    known, unknown = parser.parse_known_intermixed_args(list(arguments))
    if unknown:
        fail(f"unknown option {unknown[0]}, settings are KEY=VALUE without dashes")
    return [argument for argument in arguments if argument not in known.overrides], known.overrides


def _override(word: str, sweep: bool) -> str:
    match = _WORD.fullmatch(word)
    assert match is not None
    mark, key, value = match["mark"], match["key"], match["value"]
    if key == "hydra" or key.startswith(("hydra.", "hydra/")) or (mark == "~" and value is None):
        return word
    if value is None or not key or key != key.strip():
        raise UserError(f"'{word}' is no setting: write KEY=VALUE, with no space before or after the equals sign")
    value = value.strip()
    if not value:
        raise UserError(f"{key} has no value: write {key}=VALUE")
    several = _SEVERAL.fullmatch(value) is not None
    if key in _groups():
        mark = "+" if key == "experiment" else ""  # none is chosen by default
        form: Any = list[str] if value.startswith("[") or (several and key == "tasks") else _CHOICE
    else:
        owner, form = _declared(key)
        mark = "" if is_dataclass(owner) else "++"  # an expert of any name
    return f"{mark}{key}={value if sweep and several else _value(key, form, value, several)}"


def _value(key: str, form: Any, value: str, several: bool) -> str:
    """The value as Hydra's grammar reads it."""
    listed = value.startswith("[") and value.endswith("]")
    if _QUOTED.fullmatch(value) or value.startswith("${") or (form is Any and listed):
        return value
    if form in (str, Any) and not listed:
        return value if value == "null" else _quoted(value)
    if form is _CHOICE and not several:
        return _quoted(value)
    if typing.get_origin(form) is list and listed:
        return value
    if form in (int, float, bool) and not listed and not several:
        return value
    if not (form in _KINDS or form is _CHOICE) and value.startswith("{"):
        return value
    bare, cure = value.strip("[], "), ""
    if typing.get_origin(form) is list:
        cure = f": write {key}=[{bare}]"
    elif listed or several:
        cure = f": -m {key}={bare} makes a run of each"
    raise UserError(f"{key} takes {_kind(key)}, got {key}={value}{cure}")


def _quoted(text: str) -> str:
    if text.startswith("~/"):  # which a shell leaves as it is after an equals sign
        text = os.path.expanduser(text)
    return QuotedString(text, Quote.single).with_quotes()


def _kind(key: str) -> str:
    """What a setting takes, for a person."""
    if key in _groups():
        return "a list of names" if key == "tasks" else f"one of {', '.join(_choices(key))}"
    form = _declared(key)[1]
    if is_dataclass(form):
        return f"settings of its own ({', '.join(f'{key}.{name}' for name in form.__dataclass_fields__)})"
    return _KINDS.get(form, f"names and values ({key}.NAME=VALUE)")


def _declared(key: str) -> tuple[Any, Any]:
    """Types of what a setting belongs to (a dataclass or a mapping) and of the setting itself, None left out.

    Raises:
        UserError: there is no such setting.
    """
    owner: Any = None
    form: Any = Config
    path = key.split(".")
    for place, name in enumerate(path):
        owner = form
        if is_dataclass(owner):
            fields = typing.get_type_hints(owner)
            if name not in fields:
                hint = nearest(name, fields) if place else _nearest(name, fields)
                raise UserError(f"unknown setting '{key}': {hint}")
            form = fields[name]
        elif typing.get_origin(owner) is dict:
            form = dict if path[0] == "tasks" else typing.get_args(owner)[1]
        elif owner is dict:
            forms = setting_forms()
            if name not in forms:
                raise UserError(f"unknown setting '{key}': {nearest(name, forms)}")
            form = forms[name]
        else:
            raise UserError(f"unknown setting '{key}': {'.'.join(path[:place])} has no parts")
        if isinstance(form, types.UnionType):
            form = typing.get_args(form)[0]
    return owner, form


def _nearest(name: str, fields: dict[str, Any]) -> str:
    """A setting that was named without its section is found there."""
    inside = [section for section, form in fields.items() if is_dataclass(form) and name in form.__dataclass_fields__]
    return f"did you mean '{inside[0]}.{name}'?" if inside else nearest(name, fields)


def _groups() -> list[str]:
    return [path.name for path in data_dir("conf").iterdir() if path.is_dir()]


def _choices(group: str) -> list[str]:
    return sorted(path.stem for path in (data_dir("conf") / group).glob("*.yaml"))


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
    elif name in _choices("tasks"):
        return name
    else:
        from evomerge.evaluation.harness_index import is_harness_name  # seconds to import, rarely needed

        if find_task(name) is None and not is_harness_name(name):
            return name
        key = entry = name
    ConfigStore.instance().store(group="tasks", name=entry, node={key: {"task": name}})
    return entry


def _is_path(name: str) -> bool:
    return Path(name).suffix in (".yaml", ".yml")
