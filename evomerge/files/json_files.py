"""Read the JSON files of models and adapters, with one line about a file that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from evomerge.errors import UserError

AGAIN = "download or save it again"
_POINTER = b"version https://git-lfs"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        FileNotFoundError: there is no such file; the caller knows what is missing then.
        UserError: it cannot be read, or is no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(path, error) from error
    if not isinstance(content, dict):
        raise unreadable(path, ValueError("it is no JSON object"))
    return content


def unreadable(path: Path, error: Exception) -> UserError:
    """The error for a file that cannot be read, with its cure; tells a Git LFS pointer from a damaged file."""
    if is_pointer(path):
        return UserError(f"{path} is only a pointer of Git LFS to what it should hold: fetch that with git lfs pull")
    if path.is_file() and path.stat().st_size == 0:
        return UserError(f"cannot read {path} (it is empty): {AGAIN}")
    return UserError(f"cannot read {path} ({error}): {AGAIN}")


def is_pointer(path: Path) -> bool:
    """Whether ``path`` is a Git LFS pointer, which stands for a large file that was not fetched."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER
