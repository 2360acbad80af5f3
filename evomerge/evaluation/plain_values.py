"""Plain Python values as text, for the line between the tests and the tested code.

What comes from tested code is hostile, so it is decoded by hand into built-in types: no pickle, no marshal, no object
whose ``__eq__`` the tested code wrote.
"""

from __future__ import annotations

import datetime
import json
from collections import deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_CHARACTERS = 4 << 20
_MAX_DEPTH = 200
_MAX_ITEMS = 100_000


class NotPlain(Exception):
    """A value not made of None, numbers, text, bytes, dates, built-in containers, types; or too large, too deep."""


Reference = tuple[str, int, dict[str, Any] | None]
"""What crosses for an object that is not plain: the name of its class, its number, and its state if both ends have the
class (None if it was told before)."""


def dumps(value: Any, refer: Callable[[Any], Reference | None] = lambda value: None) -> str:
    """Text of a plain value.

    >>> loads(dumps({"a": (1, 2.5, {3})}))
    {'a': (1, 2.5, {3})}

    Args:
        refer: asked first for each value in it: a reference to send instead, or None.

    Raises:
        NotPlain: the value cannot cross.
    """
    text = json.dumps(_encode(value, 0, refer))
    if len(text) > MAX_CHARACTERS:
        raise NotPlain("value too large")
    return text


def _no_objects(reference: Reference) -> Any:
    raise NotPlain(f"an object of class {reference[0]} cannot be judged")


def loads(text: str | bytes, resolve: Callable[[Reference], Any] = _no_objects) -> Any:
    """The value of ``dumps``' text; safe for text that an enemy wrote.

    Args:
        resolve: gives what stands for a reference.

    Raises:
        NotPlain: the text is not one of ours.
    """
    try:
        return _decode(json.loads(text), 0, resolve)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError, ArithmeticError) as error:
        raise NotPlain(str(error)) from None


def _encode(value: Any, depth: int, refer: Callable[[Any], Reference | None]) -> Any:
    if depth > _MAX_DEPTH:
        raise NotPlain("nested too deeply")
    reference = refer(value)
    if reference is not None:
        name, number, state = reference
        return ["O", name, number, None if state is None else _encode(state, depth + 1, refer)]
    if value is None or value is True or value is False:
        return value
    if isinstance(value, str):
        return ["s", str.__str__(value)]
    if isinstance(value, int):
        if int.bit_length(value) > 4 * MAX_CHARACTERS:  # before it is written out
            raise NotPlain("value too large")
        return ["i", hex(int.__index__(value))]
    if isinstance(value, float):
        return ["f", float.hex(value)]
    if isinstance(value, complex):
        return ["c", float.hex(value.real), float.hex(value.imag)]
    if isinstance(value, (bytes, bytearray)):
        return ["b" if isinstance(value, bytes) else "a", bytes(value).hex()]
    for tag, kind in _CONTAINERS.items():
        if isinstance(value, kind):
            return [tag, [_encode(item, depth + 1, refer) for item in kind.__iter__(value)]]
    if isinstance(value, dict):
        return ["d", [[_encode(k, depth + 1, refer), _encode(v, depth + 1, refer)] for k, v in dict.items(value)]]
    if isinstance(value, type) and value in _TYPES.values():
        return ["T", value.__name__]
    if isinstance(value, range):
        return ["r", value.start, value.stop, value.step]
    if isinstance(value, Fraction):
        return ["R", hex(value.numerator), hex(value.denominator)]
    if isinstance(value, Decimal):
        return ["D", Decimal.__str__(value)]
    if isinstance(value, datetime.timedelta):
        return ["e", value.days, value.seconds, value.microseconds]
    for name, date in _DATES.items():
        if isinstance(value, date):
            return ["Y", name, date.isoformat(value)]
    for tag, view in _VIEWS.items():
        if isinstance(value, view):
            return [tag, [_encode(item, depth + 1, refer) for item in value]]
    if isinstance(value, Iterator):
        items = []
        for item in value:
            items.append(_encode(item, depth + 1, refer))
            if len(items) > _MAX_ITEMS:
                raise NotPlain("endless iterator")
        return ["n", items]
    raise NotPlain(f"a value of type {type(value).__name__} cannot be judged")


def _decode(code: Any, depth: int, resolve: Callable[[Reference], Any]) -> Any:
    if depth > _MAX_DEPTH + 1:
        raise NotPlain("nested too deeply")
    if code is None or code is True or code is False:
        return code
    tag, rest = code[0], code[1]
    if tag == "s" and type(rest) is str:
        return rest
    if tag == "i":
        return int(rest, 16)
    if tag == "f":
        return float.fromhex(rest)
    if tag == "c":
        return complex(float.fromhex(rest), float.fromhex(code[2]))
    if tag == "b":
        return bytes.fromhex(rest)
    if tag == "a":
        return bytearray.fromhex(rest)
    if tag in _CONTAINERS:
        return _CONTAINERS[tag](_decode(item, depth + 1, resolve) for item in rest)
    if tag == "d":
        return {_decode(k, depth + 1, resolve): _decode(v, depth + 1, resolve) for k, v in rest}
    if tag == "T":
        return _TYPES[rest]
    if tag == "r":
        return range(int(rest), int(code[2]), int(code[3]))
    if tag == "n":
        return iter([_decode(item, depth + 1, resolve) for item in rest])
    if tag == "R":
        return Fraction(int(rest, 16), int(code[2], 16))
    if tag == "D":
        return Decimal(rest)
    if tag == "e":
        return datetime.timedelta(rest, code[2], code[3])
    if tag == "Y":
        return _DATES[rest].fromisoformat(code[2])
    if tag in _VIEWS:
        items = [_decode(item, depth + 1, resolve) for item in rest]
        if tag == "K":
            return dict.fromkeys(items).keys()
        return dict(enumerate(items)).values() if tag == "V" else dict(items).items()
    if tag == "O" and type(rest) is str and type(code[2]) is int:
        state = _decode(code[3], depth + 1, resolve)
        if state is None or type(state) is dict:
            return resolve((rest, code[2], state))
    raise NotPlain(f"unknown tag {tag!r}")


#: Types that tests pass as arguments, by name.
_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict)
}
_CONTAINERS: dict[str, Any] = {"l": list, "t": tuple, "S": set, "F": frozenset, "q": deque}
_VIEWS: dict[str, Any] = {"K": KeysView, "V": ValuesView, "I": ItemsView}
# A datetime is a date, too: it comes first.
_DATES: dict[str, Any] = {"datetime": datetime.datetime, "date": datetime.date, "time": datetime.time}
