"""Remove a folder that hostile code filled."""

from __future__ import annotations

import os

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def remove_tree(folder: str) -> None:
    """Remove ``folder``, in which no process works any more.

    Step by step through descriptors: a hostile tree is deeper than a path or Python's stack may be. Links are
    removed, never followed; folders that cannot be read are made readable.

    Raises:
        OSError: something in it cannot be removed.
    """
    fd = os.open(folder, _FOLDER)
    try:
        # The way down: name of each folder, and which of its subfolders are left.
        way = [("", _empty(fd))]
        while way:
            name, left = way[-1]
            if left:
                name = left.pop()
                os.chmod(name, 0o700, dir_fd=fd)
                fd = _move(fd, name)
                way.append((name, _empty(fd)))
            else:
                way.pop()
                if way:
                    fd = _move(fd, "..")
                    os.rmdir(name, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(folder)


def _empty(fd: int) -> list[str]:
    """Remove all files of a folder; the names of its subfolders."""
    folders = []
    with os.scandir(fd) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=fd)
    return folders


def _move(fd: int, name: str) -> int:
    moved = os.open(name, _FOLDER, dir_fd=fd)
    os.close(fd)
    return moved
