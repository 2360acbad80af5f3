"""Read a frozen settings class from a plain mapping, such as a section of YAML."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from evomerge.errors import UserError, nearest

T = TypeVar("T")

#: Names of the types of settings, for error texts.
KINDS: dict[Any, str] = {
    str: "one value",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list[str]: "a list",
    list[int]: "a list of whole numbers",
}


def from_mapping(settings: type[T], values: Mapping[str, Any] | None, section: str) -> T:
    """Create the dataclass ``settings`` from ``values``; missing fields get their defaults.

    Args:
        section: key of ``values`` for error texts, for example ``sandbox`` or ``search.options``.

    Raises:
        UserError: a key is unknown, a value has another type, or the class refuses a value.
    """
    forms = setting_types(settings)
    given = {}
    for key, value in (values or {}).items():
        if key not in forms:
            raise UserError(f"unknown setting '{section}.{key}': {nearest(key, forms)}")
        given[key] = _checked(f"{section}.{key}", forms[key], value)
    return settings(**given)


def setting_types(settings: type[Any]) -> dict[str, Any]:
    """Types of a dataclass's fields by name, with text annotations evaluated."""
    hints = typing.get_type_hints(settings)
    return {field.name: hints[field.name] for field in fields(settings)}


def check_choice(key: str, value: str | None, choices: Sequence[str]) -> None:
    """Refuse a setting's value unless it is None or one of ``choices``.

    Raises:
        UserError: ``value`` is neither; the error names ``key``.
    """
    if value is not None and value not in choices:
        raise UserError(f"{key} must be one of {', '.join(choices)}, got '{value}'")


def without_none(form: Any) -> Any:
    """``int`` for ``int | None``; other types as they are."""
    return typing.get_args(form)[0] if isinstance(form, types.UnionType) else form


def _checked(key: str, form: Any, value: Any) -> Any:
    wanted = without_none(form)
    if wanted is Any or (value is None and wanted is not form) or wanted not in KINDS:
        return value
    if wanted is float and type(value) is int:
        return float(value)
    element = next(iter(typing.get_args(wanted)), None)
    fits = type(value) is wanted if element is None else _all_are(element, value)
    if not fits:
        raise UserError(f"{key} takes {KINDS[wanted]}, got {key}={value}")
    return value


def _all_are(element: type, value: Any) -> bool:
    return isinstance(value, list) and all(type(entry) is element for entry in value)
