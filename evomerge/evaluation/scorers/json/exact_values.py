"""Compare JSON values with the accepted ones, in the form of function-calling benchmarks.

Runs in the judge; standard library only.
"""

from __future__ import annotations

from typing import Any

OPTIONAL = ""  # among the accepted values of an argument: it may be left out


def equal(a: Any, b: Any) -> bool:
    """Equality of JSON values: 1 and 1.0 are one number, true is no number, the order of keys does not count.

    >>> equal({"a": [1, True]}, {"a": [1.0, True]}), equal(1, True)
    (True, False)
    """
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(equal(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        return a == b
    return type(a) is type(b) and bool(a == b)


def right_call(value: Any, name: str, arguments: dict[str, list[Any]]) -> bool:
    """Whether ``value`` is ``{"name": name, "arguments": {...}}`` with accepted arguments and no others.

    Args:
        arguments: accepted values by argument, in the Berkeley Function-Calling Leaderboard's form: an empty text
            among them means that the argument may be left out, and accepted objects list accepted values per key.
            Unlike there, texts must be equal to the letter.

    >>> right_call({"name": "f", "arguments": {"a": 1}}, "f", {"a": [1, 2], "b": ["", "x"]})
    True
    """
    return (
        isinstance(value, dict)
        and value.keys() == {"name", "arguments"}
        and value["name"] == name
        and _fits_object(value["arguments"], arguments)
    )


def _fits_object(value: Any, accepted: dict[str, Any]) -> bool:
    if not isinstance(value, dict) or not value.keys() <= accepted.keys():
        return False
    return all(
        any(_fits(value[key], option) for option in _listed(options)) if key in value else OPTIONAL in _listed(options)
        for key, options in accepted.items()
    )


def _fits(value: Any, option: Any) -> bool:
    if isinstance(option, dict):
        return equal(value, option) or _fits_object(value, option)
    if isinstance(option, list):
        return isinstance(value, list) and len(value) == len(option) and all(map(_fits, value, option))
    return equal(value, option)


def _listed(options: Any) -> list[Any]:
    return options if isinstance(options, list) else [options]
