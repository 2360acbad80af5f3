"""Overwrite guard: an output may replace only what evomerge wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from evomerge.errors import UserError
from evomerge.files.small_files import writing

MANIFEST = ".evomerge"
# the card, written after the folder has appeared; .DS_Store, written by Finder
_ALSO = ("README.md", ".DS_Store")


def write_manifest(folder: Path) -> None:
    """List the files of a finished output in it, so that a later run knows them from files that others add."""
    names = sorted(entry.name for entry in folder.iterdir())
    (folder / MANIFEST).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


def output_path(out: str, inputs: Iterable[str | None], is_folder: bool = True) -> Path:
    """The path that ``out`` names, checked before any work is done for it.

    Args:
        out: as a person gives it.
        inputs: names of the models, adapters and files that the output is made from; names that are no paths are
            skipped.
        is_folder: the output is a folder, not one file of weights.

    Raises:
        UserError: see :func:`check_target`; or the output would overwrite one of its inputs.
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
    """Refuse to write an output over anything but a former output.

    A file of weights may replace any file of weights: nothing in it says who wrote it.

    Args:
        target: path without links, see :func:`place_of`.
        is_folder: the output is a folder, not one file of weights.

    Raises:
        UserError: something else is there.
        OSError: the place cannot be read.
    """
    if is_folder:
        _check_folder(target)
    elif target.is_dir():
        raise UserError(f"cannot write a file to {target}: a folder of that name is there; give another name")
    elif target.exists() and not _may_be_weights(target):
        raise UserError(f"cannot write to {target}: it is no file of weights; give another name")


def place_of(path: Path) -> Path:
    """The absolute path without links, dots and ``~``, so that an output replaces a link's target and not the link."""
    return Path(os.path.realpath(path.expanduser()))


def _may_be_weights(file: Path) -> bool:
    """Whether the file is empty or begins like safetensors, with the length of a JSON header and the header."""
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
