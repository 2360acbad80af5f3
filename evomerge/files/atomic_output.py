"""Atomic output folders and files, and temporary folders."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from evomerge.errors import UserError
from evomerge.files.overwrite_guard import check_target, place_of, write_manifest
from evomerge.files.small_files import FULL, reason, writing
from evomerge.files.swap_paths import exchange

_LONGEST = 200  # bytes of a name that still leave room, in the 255 of most file systems, for what a work path adds


@contextlib.contextmanager
def appearing_folder(folder: Path) -> Iterator[Path]:
    """A work folder beside ``folder`` that takes its name at the end; an error leaves nothing and replaces nothing.

    All of it is on the disk by then. What a killed predecessor left is removed first, unless its process still runs.
    Where ``folder`` is a link, the folder that it points to is written. No output appears inside another's work folder.

    Raises:
        UserError: ``folder`` is a file, or holds other things than a former output; those are never replaced. Or it
            cannot be written to.
    """
    target = place_of(folder)
    with _claimed(target, is_folder=True) as work:
        yield work
        write_manifest(work)
        for file in work.rglob("*"):
            _sync(file)
        _sync(work)
        with writing(target), _turn(target.parent):
            check_target(target, is_folder=True)  # again: others had hours to put something there
            _put_in_place(work, target)
            _sync(target.parent)


@contextlib.contextmanager
def appearing_file(path: Path) -> Iterator[Path]:
    """The same for one file of weights: a work file, made and empty, that takes the name at the end."""
    target = place_of(path)
    with _claimed(target, is_folder=False) as work:
        yield work
        _sync(work)
        with writing(target):
            work.replace(target)
            _sync(target.parent)


@contextlib.contextmanager
def passing_folder(beside: Path) -> Iterator[Path]:
    """A work folder beside ``beside`` that is gone at the end; what a killed predecessor left is removed first."""
    place = place_of(beside)
    with _claimed(place.with_name(f"{place.name}-steps"), is_folder=True, replaces=False) as work:
        inside = work / "steps"  # what is locked cannot be waited for: outputs appear in this one
        inside.mkdir()
        yield inside


@contextlib.contextmanager
def _claimed(target: Path, is_folder: bool, replaces: bool = True) -> Iterator[Path]:
    """A new path beside ``target``, locked while its maker lives: the kernel unlocks it however the process ends.

    At the end, whatever has that path by then goes.
    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _turn(target.parent):
            if replaces:
                check_target(target, is_folder)
            _remove_leftovers(target)
            work = target.parent / f".{_stem(target)}.{uuid.uuid4().hex[:8]}.partial"
            if is_folder:
                work.mkdir()
            else:
                work.touch(exist_ok=False)
            handle = os.open(work, os.O_RDONLY)
            _lock(handle)
    try:
        yield work
    except OSError as error:
        if error.errno in FULL:
            raise UserError(f"cannot write {target} {reason(error)}") from error
        raise
    finally:
        _remove(work)
        os.close(handle)


@contextlib.contextmanager
def _turn(folder: Path) -> Iterator[None]:
    """Writers into ``folder`` begin and end one after another, so that none takes another's half step for a leftover.

    The folder itself is the lock: a file would have to stay behind.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _put_in_place(work: Path, target: Path) -> None:
    """Give ``work`` the name ``target``; what had it before, if anything, is at ``work`` then."""
    if not target.exists():
        work.rename(target)
    elif not exchange(work, target):
        old = work.with_suffix(".old")
        target.rename(old)
        try:
            work.rename(target)
        except BaseException:  # an interruption, too
            if not target.exists():
                old.rename(target)
            raise
        old.rename(work)


def _remove_leftovers(target: Path) -> None:
    """Clear away what killed processes left of ``target``; a complete predecessor that they had moved comes back."""
    form = re.compile(rf"\.{re.escape(_stem(target))}\.[0-9a-f]{{8}}\.(partial|old)")
    for path in [path for path in target.parent.iterdir() if form.fullmatch(path.name)]:
        if path.suffix == ".old":  # only a process killed between two renames leaves one, see _put_in_place
            if target.exists():
                _remove(path)
            else:
                path.rename(target)
            continue
        try:
            handle = os.open(path, os.O_RDONLY)
        except OSError:  # its maker has just come to its end, or is somebody else
            continue
        if _lock(handle):
            _remove(path)
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _stem(target: Path) -> str:
    name = os.fsencode(target.name)
    return target.name if len(name) <= _LONGEST else hashlib.sha256(name).hexdigest()


def _lock(handle: int, wait: bool = False) -> bool:
    """Whether the lock is ours now. Never, where the file system has no such locks (some network ones)."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _sync(path: Path) -> None:
    """Make ``path``'s data, or a folder's entries, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
