"""Errors of Hydra and OmegaConf in one line."""

from __future__ import annotations

from hydra.errors import OverrideParseException


def one_line(error: Exception) -> str:
    """The first line of the error and of its first cause; for a value that Hydra cannot read, the cure."""
    if isinstance(error, OverrideParseException):
        word = error.override.lstrip("+")
        return f"cannot read {word}: text with special characters goes in quotes, KEY=['...','...']"
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    first, reason = (next(iter(str(one).strip().splitlines()), "").strip() for one in (error, cause))
    return first if reason in first else f"{first}: {reason}" if first else reason
