"""Find a parameter's value for one tensor among the scopes of a file, with its filters and gradients."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from evomerge.errors import UserError
from evomerge.mergekit.config import Filtered, Parameters, Scalar, Setting

_SWITCHES = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}


def number(value: Scalar, name: str, where: str) -> float:
    """``value`` as a finite number. Texts may be numbers, because YAML 1.1 reads 1e-3 as a text."""
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise UserError(f"{name} must be a number, got '{value}' ({where})") from None
    if not math.isfinite(found):
        raise UserError(f"{name} must be a finite number, got {value} ({where})")
    return found


def not_negative(value: Scalar, name: str, where: str) -> float:
    """``value`` as a finite number of 0 or more."""
    found = number(value, name, where)
    if found < 0.0:
        raise UserError(f"{name} must be 0 or greater, got {found:g} ({where})")
    return found


def whole(value: Scalar, name: str, where: str) -> int:
    """``value`` as a whole number."""
    found = number(value, name, where)
    if found != int(found):
        raise UserError(f"{name} must be a whole number, got {value} ({where})")
    return int(found)


def switch(value: Scalar, name: str, where: str) -> bool:
    """``value`` as true or false: YAML's booleans, 0 and 1, and the words yes, no, on, off."""
    text = f"{value:g}" if isinstance(value, float) else str(value)
    if text.lower() not in _SWITCHES:
        raise UserError(f"{name} must be true or false, got '{value}' ({where})")
    return _SWITCHES[text.lower()]


Read = Callable[[Scalar, str, str], Any]
"""``(value, name, where) -> value of the parameter's type``, or a UserError: number, not_negative, whole or switch."""


def value_at(setting: Setting, tensor: str, t: float, name: str, read: Read, where: str) -> Any:
    """The value of ``setting`` for a tensor at position ``t``; None if no filter matches.

    Args:
        setting: a scalar, a gradient or filtered values. A gradient of numbers is interpolated linearly between evenly
            spaced points; a gradient of n switches or texts gives element ``int(t (n - 1))``. Of filtered values the
            first match counts.
        tensor: name of the tensor.
        t: position in the slice, 0 at its first layer and 1 at its last.
        name, where: name and key of the parameter, for errors.
        read: function that reads a value and checks its type.
    """
    if not isinstance(setting, tuple):
        return read(setting, name, where)
    if not setting:
        return None
    if isinstance(setting[0], Filtered):
        for entry in setting:
            assert isinstance(entry, Filtered)
            if entry.matches(tensor):
                return value_at(entry.value, tensor, t, name, read, where)
        return None
    anchors = [read(value, name, where) for value in setting if not isinstance(value, Filtered)]
    place = t * (len(anchors) - 1)
    left = int(place)
    if any(isinstance(anchor, (bool, str)) for anchor in anchors):
        return anchors[left]
    right = min(left + 1, len(anchors) - 1)
    share = place - left
    between = (1 - share) * anchors[left] + share * anchors[right]
    return read(between, name, where)


def resolve(
    scopes: Iterable[Parameters], name: str, read: Read, *, tensor: str, t: float, where: str, default: Any = None
) -> Any:
    """The value of parameter ``name`` in the first of ``scopes`` that has one for this tensor, or else ``default``.

    Args:
        scopes: scopes from the innermost (source) to the outermost (whole file); a scope has no value if no filter
            matches or its list is empty.
    """
    for scope in scopes:
        if name in scope:
            found = value_at(scope[name], tensor, t, name, read, where)
            if found is not None:
                return found
    return default


def scalars(setting: Setting) -> list[Scalar]:
    """All single values in a setting.

    >>> scalars((Filtered((0.2, 0.8), "mlp"), Filtered(1.0)))
    [0.2, 0.8, 1.0]
    """
    if not isinstance(setting, tuple):
        return [setting]
    found: list[Scalar] = []
    for entry in setting:
        found += scalars(entry.value) if isinstance(entry, Filtered) else [entry]
    return found
