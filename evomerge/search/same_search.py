"""Compare what makes scores comparable: a search goes on only in a folder of the same search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evomerge.errors import UserError


def refuse_another(folder: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compare by the keys that both have, also inside a mapping.

    Raises:
        UserError: a value differs; the error names its key and the difference.
    """
    for key, value in wanted.items():
        if key not in stored:
            continue
        if isinstance(value, dict) and isinstance(stored[key], dict):
            for name in value:
                _refuse_other(folder, f"{key}.{name}", stored[key].get(name, value[name]), value[name])
        else:
            _refuse_other(folder, key, stored[key], value)


def _refuse_other(folder: Path, key: str, stored: Any, wanted: Any) -> None:
    if stored != wanted:
        raise UserError(
            f"{folder} holds a search with other {key} ({_difference(stored, wanted)}): choose another name=, or "
            "delete the folder"
        )


def _difference(stored: Any, wanted: Any) -> str:
    """The difference, short enough for one line."""
    if isinstance(stored, list) and isinstance(wanted, list):
        gone = [x for x in stored if x not in wanted]
        new = [x for x in wanted if x not in stored]
        stored, wanted = gone or stored, new or wanted
        if gone and not new:
            return f"without {_short(gone)} now"
        if new and not gone:
            return f"{_short(new)} is new"
    return f"there {_short(stored)}, now {_short(wanted)}"


def _short(value: Any, limit: int = 100) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
