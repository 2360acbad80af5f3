"""Exceptions that the command line prints as one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_MOST = 60  # largest number of names that a hint lists


class UserError(Exception):
    """A user's request is impossible; the message says in one line what was wanted, what was given, and the cure.

    ``__main__`` prints the message without a traceback and exits with code 2.
    """


class RunFailed(RuntimeError):
    """The job failed; the message gives the reason in one line. Finished work is kept.

    ``__main__`` prints the message without a traceback and exits with code 1.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest valid name and, unless too long, the list of all.

    >>> nearest("sqll", ["sql", "json"])
    "did you mean 'sql'? (known: json, sql)"
    >>> nearest("x", ["sql", "json"])
    'known: json, sql'
    """
    names = sorted(known)
    listed = ", ".join(names) if len(names) <= _MOST else f"{len(names)} names, from {names[0]} to {names[-1]}"
    close = difflib.get_close_matches(name, names, n=1) or difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean '{close[0]}'? (known: {listed})" if close else f"known: {listed}"
