"""Folders and files that appear complete or not at all, whatever happens meanwhile; and folders that pass."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from evomerge.errors import UserError

_OURS = ("config.json", "adapter_config.json")


@contextlib.contextmanager
def appearing_folder(folder: Path) -> Iterator[Path]:
    """A work folder beside ``folder`` that takes its name at the end; an error leaves nothing and replaces nothing.

    All of it is on the disk by then. What a killed predecessor left is removed first, unless its process still runs.

    Raises:
        UserError: ``folder`` is a file, or holds other things than a model or adapter; those are never replaced.
    """
    folder = folder.absolute()
    if folder.is_file():
        raise UserError(f"cannot write a folder to {folder}: a file of that name is there; give another name")
    if folder.is_dir() and any(folder.iterdir()) and not any((folder / name).is_file() for name in _OURS):
        raise UserError(f"cannot write to {folder}: it holds other things than a model; give a new folder")
    with _claimed(folder, is_folder=True) as work:
        old = work.with_suffix(".old")
        try:
            yield work
            for file in work.rglob("*"):
                _sync(file)
            _sync(work)
            if folder.exists():
                folder.rename(old)
            work.rename(folder)
            _sync(folder.parent)
        finally:
            if old.exists() and not folder.exists():  # interrupted between the two renames
                old.rename(folder)
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def appearing_file(path: Path) -> Iterator[Path]:
    """The same for one file: a work file beside ``path``, made and empty, that takes its name at the end."""
    path = path.absolute()
    if path.is_dir():
        raise UserError(f"cannot write a file to {path}: a folder of that name is there; give another name")
    with _claimed(path, is_folder=False) as work:
        try:
            yield work
            _sync(work)
            work.replace(path)
            _sync(path.parent)
        finally:
            work.unlink(missing_ok=True)


@contextlib.contextmanager
def passing_folder(beside: Path) -> Iterator[Path]:
    """A work folder beside ``beside`` that is gone at the end; what a killed predecessor left is removed first."""
    with _claimed(beside.absolute().with_name(f"{beside.name}-steps"), is_folder=True) as work:
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _claimed(target: Path, is_folder: bool) -> Iterator[Path]:
    """A new path beside ``target``, locked while its maker lives: the kernel unlocks it however the process ends."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(target)
        work, handle = _claim(target, is_folder)
    except OSError as error:
        raise UserError(f"cannot write {target} ({error.strerror}): give a place that can be written to") from error
    try:
        yield work
    finally:
        os.close(handle)


def _claim(target: Path, is_folder: bool) -> tuple[Path, int]:
    while True:
        work = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.partial"
        if is_folder:
            work.mkdir()
        else:
            work.touch(exist_ok=False)
        try:
            handle = os.open(work, os.O_RDONLY)
        except FileNotFoundError:  # taken for a leftover before it was locked
            continue
        if _lock(handle, unsupported=True) and work.exists():
            return work, handle
        os.close(handle)


def _remove_leftovers(target: Path) -> None:
    """Clear away what killed processes left of ``target``; a complete predecessor that they had moved comes back."""
    form = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}\.(partial|old)")
    found = sorted(path for path in target.parent.iterdir() if form.fullmatch(path.name))
    for path in found:
        maker = path.with_suffix(".partial")
        try:
            handle = os.open(maker if maker.exists() else path, os.O_RDONLY)
        except FileNotFoundError:  # another process clears up too
            continue
        if _lock(handle, unsupported=False):
            if path.suffix == ".old" and not target.exists():
                path.rename(target)
            elif path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        os.close(handle)


def _lock(handle: int, unsupported: bool) -> bool:
    """Whether the lock is ours now; ``unsupported`` where the file system has no such locks (some network ones)."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return unsupported
    return True


def _sync(path: Path) -> None:
    """Make ``path``'s data, or a folder's entries, durable."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
