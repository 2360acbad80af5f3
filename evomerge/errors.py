"""The exceptions that a person is told in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 60  # names that a hint lists


class UserError(Exception):
    """Something asked for cannot be; the message says what was wanted, what came and how to cure it, in one line.

    ``__main__`` prints the message without a traceback and exits with code 2.
    """


class RunFailed(RuntimeError):
    """The job failed for a reason that one line tells; what was finished before is kept.

    ``__main__`` prints the message without a traceback and exits with code 1.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one and the list of all, unless they are too many to read.

    >>> nearest("sqll", ["sql", "json"])
    "did you mean 'sql'? (known: json, sql)"
    >>> nearest("x", ["sql", "json"])
    'known: json, sql'
    """
    names = sorted(known)
    listed = ", ".join(names) if len(names) <= _MOST else f"{len(names)} names, from {names[0]} to {names[-1]}"
    close = difflib.get_close_matches(name, names, n=1) or difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean '{close[0]}'? (known: {listed})" if close else f"known: {listed}"
