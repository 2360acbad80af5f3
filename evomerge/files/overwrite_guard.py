"""Overwrite guard: an output may replace only what evomerge wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from evomerge.errors import UserError
from evomerge.files.small_files import writing

MANIFEST = ".evomerge"
# the card, which is written once the folder is there, and what a look into it leaves on macOS
_ALSO = ("README.md", ".DS_Store")


def write_manifest(folder: Path) -> None:
    """Note what a finished output holds, so that it is known again, and told from what others add to it."""
    names = sorted(entry.name for entry in folder.iterdir())
    (folder / MANIFEST).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def output_path(out: str, inputs: Iterable[str | None], is_folder: bool = True) -> Path:
    """The path that ``out`` names, checked before any work is done for it.

    Args:
        out: as a person gives it.
        inputs: names of the models, adapters and files that are read for it; those that are no paths do not matter.
        is_folder: the output is a folder, not one file of weights.

    Raises:
        UserError: see :func:`check_target`; or it would cost what it is made from.
    """
    path = Path(out).expanduser()
    with writing(path):
        target = place_of(path)
        for name in inputs:
            if name is None or not Path(name).expanduser().exists():
                continue
            read = place_of(Path(name))
            same = target.exists() and target.samefile(read)  # also where upper and lower case name one file
            if same or target in read.parents or (not is_folder and target.exists() and read in target.parents):
                raise UserError(f"cannot write to {out}: {name} is read for it; give another name")
        check_target(target, is_folder)
    return path


def check_target(target: Path, is_folder: bool) -> None:
    """Refuse to write an output where it would cost anything but a former output.

    A file of weights may take the place of another: it carries no sign of who wrote it.

    Args:
        target: where links lead to, see :func:`place_of`.
        is_folder: the output is a folder, not one file of weights.

    Raises:
        UserError: says what is in the way.
        OSError: nobody can look there.
    """
    if is_folder:
        _check_folder(target)
    elif target.is_dir():
        raise UserError(f"cannot write a file to {target}: a folder of that name is there; give another name")
    elif target.exists() and not _may_be_weights(target):
        raise UserError(f"cannot write to {target}: it is no file of weights; give another name")


def place_of(path: Path) -> Path:
    """The absolute path without links, dots and ``~``: what is replaced, so that a link goes on pointing to it."""
    return Path(os.path.realpath(path.expanduser()))


def _may_be_weights(file: Path) -> bool:
    """Whether it is empty or begins as safetensors do: the length of a header in JSON, and that."""
    with file.open("rb") as opened:
        start = opened.read(9)
    return not start or (start[8:] == b"{" and int.from_bytes(start[:8], "little") <= file.stat().st_size - 8)


def _check_folder(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"cannot write a folder to {folder}: a file of that name is there; give another name")
    found = sorted(entry.name for entry in folder.iterdir())
    if found:
        manifest = folder / MANIFEST
        ours = manifest.read_text(encoding="utf-8").splitlines() if manifest.is_file() else []
        others = [name for name in found if name not in (*ours, *_ALSO, MANIFEST)]
        if others or not ours:
            raise UserError(
                f"cannot write to {folder}: it holds other things than a model that evomerge wrote "
                f"({(others or found)[0]}{' ...' * (len(others or found) > 1)}); give a new folder"
            )
    if os.path.ismount(folder):
        raise UserError(f"cannot write to {folder}: a mount point cannot be replaced; give a new folder in it")
    if folder in (here := Path.cwd(), *here.parents):
        raise UserError(f"cannot write to {folder}: it is the folder you are in; give a new folder")
