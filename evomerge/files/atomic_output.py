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

_LONGEST = 200  # bytes of a name; a work path adds to it, and most file systems allow 255


@contextlib.contextmanager
def appearing_folder(folder: Path) -> Iterator[Path]:
    """Open a work folder beside ``folder`` that takes its name at the end; an error leaves nothing and replaces
    nothing.

    All files are durable before the folder appears. Work folders of killed processes are removed first. If ``folder``
    is a link, the folder that it points to is replaced. Do not write an output inside another output's work folder.

    Raises:
        UserError: ``folder`` is a file, holds other things than a former output, or cannot be written to.
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
    """The same for one file of weights: an empty work file that takes the name at the end."""
    target = place_of(path)
    with _claimed(target, is_folder=False) as work:
        yield work
        _sync(work)
        with writing(target):
            work.replace(target)
            _sync(target.parent)


@contextlib.contextmanager
def passing_folder(beside: Path) -> Iterator[Path]:
    """Open a temporary folder next to ``beside``; it is removed at the end, as are those of killed processes."""
    place = place_of(beside)
    with _claimed(place.with_name(f"{place.name}-steps"), is_folder=True, replaces=False) as work:
        # Writing an output locks its parent, and `work` is locked already: hand out a subfolder
        inside = work / "steps"
        inside.mkdir()
        yield inside


@contextlib.contextmanager
def _claimed(target: Path, is_folder: bool, replaces: bool = True) -> Iterator[Path]:
    """Make a work path beside ``target``, locked while this process lives; the kernel unlocks it however the process
    ends.

    At the end the path is removed, whatever it holds by then.
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
    """Let writers into ``folder`` begin and end one after another, so that none removes another's unfinished step.

    The folder itself is locked: a lock file would have to stay there.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, wait=True)
        yield
    finally:
        os.close(handle)


def _put_in_place(work: Path, target: Path) -> None:
    """Give ``work`` the name ``target``; a former output is at ``work`` afterwards."""
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
    """Remove the work paths that killed processes left; a complete former output that they had moved is moved back."""
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
        except OSError:  # its process has just removed it, or another user owns it
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
    """Take the lock and return True; False if another process has it, or the file system has no locks (some network
    ones)."""
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
