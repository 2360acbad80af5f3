"""Find the folders shipped with evomerge (conf, tasks, experts), in a checkout as in a wheel."""

from __future__ import annotations

from pathlib import Path

from evomerge.errors import UserError

_PACKAGE = Path(__file__).resolve().parent.parent


def data_dir(name: str) -> Path:
    """Folder ``name`` of evomerge's own files.

    The folder inside the package (a wheel) is tried first: beside an installed package lie other projects' folders.

    Raises:
        UserError: neither place has it.
    """
    places = (_PACKAGE / name, _PACKAGE.parent / name)
    for place in places:
        if place.is_dir():
            return place
    raise UserError(f"evomerge ships no folder '{name}' (looked in {places[0]} and {places[1]}): reinstall evomerge")
