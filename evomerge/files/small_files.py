"""Write small files in one step, and say in one line why something cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from evomerge.errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_text(path: Path, text: str) -> None:
    """Replace ``path`` by ``text`` in one step; its folder is made when missing. A link goes on pointing to the file.

    Raises:
        UserError: it cannot be written there.
    """
    with writing(path):
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent / f".{uuid.uuid4().hex}.partial"
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an operating system's error into one line that says why ``path`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write {path} {reason(error)}") from error


def reason(error: OSError) -> str:
    """Why something cannot be written, and the cure."""
    cure = "free some space or write elsewhere" if error.errno in FULL else "give a place that can be written to"
    return f"({error.strerror or error}): {cure}"
