"""Plain Python values as text, for the line between the tests and the tested code.

What comes from tested code is hostile, so it is decoded by hand into built-in types: no pickle, no marshal, no object
whose ``__eq__`` the tested code wrote.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MAX_CHARACTERS = 4 << 20
_MAX_DEPTH = 60
_MAX_ITEMS = 100_000


class NotPlain(Exception):
    """A value not made of None, numbers, text, bytes, built-in containers and types, or too large or too deep."""


def dumps(value: Any) -> str:
    """Text of a plain value.

    >>> loads(dumps({"a": (1, 2.5, {3})}))
    {'a': (1, 2.5, {3})}

    Raises:
        NotPlain: the value cannot cross.
    """
    text = json.dumps(_encode(value, 0))
    if len(text) > MAX_CHARACTERS:
        raise NotPlain("value too large")
    return text


def loads(text: str | bytes) -> Any:
    """The value of ``dumps``' text; safe for text that an enemy wrote.

    Raises:
        NotPlain: the text is not one of ours.
    """
    try:
        return _decode(json.loads(text), 0)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError, OverflowError) as error:
        raise NotPlain(str(error)) from None


def _encode(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise NotPlain("nested too deeply")
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
            return [tag, [_encode(item, depth + 1) for item in kind.__iter__(value)]]
    if isinstance(value, dict):
        return ["d", [[_encode(k, depth + 1), _encode(v, depth + 1)] for k, v in dict.items(value)]]
    if isinstance(value, type) and value in _TYPES.values():
        return ["T", value.__name__]
    if isinstance(value, range):
        return ["r", value.start, value.stop, value.step]
    if isinstance(value, Iterator):
        items = []
        for item in value:
            items.append(_encode(item, depth + 1))
            if len(items) > _MAX_ITEMS:
                raise NotPlain("endless iterator")
        return ["n", items]
    raise NotPlain(f"a value of type {type(value).__name__} cannot be judged")


def _decode(code: Any, depth: int) -> Any:
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
        return _CONTAINERS[tag](_decode(item, depth + 1) for item in rest)
    if tag == "d":
        return {_decode(k, depth + 1): _decode(v, depth + 1) for k, v in rest}
    if tag == "T":
        return _TYPES[rest]
    if tag == "r":
        return range(int(rest), int(code[2]), int(code[3]))
    if tag == "n":
        return iter([_decode(item, depth + 1) for item in rest])
    raise NotPlain(f"unknown tag {tag!r}")


#: Types that tests pass as arguments, by name.
_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (bool, int, float, complex, str, bytes, bytearray, list, tuple, set, frozenset, dict)
}
_CONTAINERS: dict[str, Any] = {"l": list, "t": tuple, "S": set, "F": frozenset}
