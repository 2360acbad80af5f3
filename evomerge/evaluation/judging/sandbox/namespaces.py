"""Enter namespaces: a process tree with its own file system, network and process numbers; each answer gets more.

Source of the calls: man 7 namespaces, user_namespaces; man 2 mount_setattr, pivot_root, clone.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

from evomerge.evaluation.judging.sandbox import readable_folders
from evomerge.evaluation.judging.sandbox.kernel import PR_SET_PDEATHSIG, check, libc, prctl, syscall
from evomerge.evaluation.judging.sandbox.settings import SandboxUnavailable

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x1, 0x2, 0x4, 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY_NOSUID_NODEV = -100, 0x8000, 0x1 | 0x2 | 0x4
_MOUNT_SETATTR = 442
_CLONE, _PIVOT_ROOT = (56, 220), (155, 41)
_OWN_TMP = "size=16m,nr_inodes=4k,mode=700"


def enter(new_root: str) -> None:
    """Move this single-threaded process into fresh namespaces. The caller's process stays outside, waiting: what
    returns is a child, pid 1 of the new pid namespace, so that nothing it started can outlive it.

    Args:
        new_root: an empty folder, used as a mount point.

    Raises:
        SandboxUnavailable: a call was refused.
    """
    uid, gid = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS | _CLONE_NEWPID
    # Root needs no user namespace, and without one an answer can be given a user id of its own.
    if uid == 0:
        check("unshare", libc.unshare(flags))
    else:
        check("unshare", libc.unshare(flags | _CLONE_NEWUSER))
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    child = os.fork()
    if child:
        os.closerange(0, 3)
        os._exit(_exit_code(os.waitpid(child, 0)[1]))
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    change_root(new_root)


def change_root(new_root: str) -> None:
    """Make ``new_root`` (an empty folder) the root of a read-only file system that holds Python's library alone,
    without installed packages, and an empty /tmp, the new working folder.

    Raises:
        SandboxUnavailable: a call was refused.
    """
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", new_root, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for path in readable_folders.folders():
        target = new_root + path
        if os.path.isdir(target):  # inside a folder bound before, for example /usr/lib/python3.11
            continue
        os.makedirs(target)
        _mount(path, target, None, _MS_BIND | _MS_REC)
    for path in readable_folders.installed_packages():
        if os.path.isdir(new_root + path):
            _mount("tmpfs", new_root + path, "tmpfs", _MS_RDONLY, "size=4k,mode=755")
    os.makedirs(new_root + "/tmp", exist_ok=True)
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY_NOSUID_NODEV, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    root = ctypes.c_char_p(new_root.encode())
    syscall("mount_setattr", _MOUNT_SETATTR, _AT_FDCWD, root, _AT_RECURSIVE, attributes, size)
    _mount("tmpfs", new_root + "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=711")
    os.chdir(new_root)
    # pivot_root(".", ".") stacks the old root over the new one, so that it can be detached at once (man 2 pivot_root).
    syscall("pivot_root", _PIVOT_ROOT, b".", b".")
    check("umount2", libc.umount2(b".", _MNT_DETACH))
    os.chdir("/tmp")


def fork_nested() -> int:
    """As ``os.fork``, the child being pid 1 of a pid namespace of its own, with mounts of its own: it sees no other
    process, and nothing it started or mounted survives it. Call from a single-threaded process.

    Raises:
        SandboxUnavailable: refused.
    """
    return syscall("clone", _CLONE, _CLONE_NEWPID | _CLONE_NEWNS | signal.SIGCHLD, 0, 0, 0, 0)


def mount_own_tmp(user: int | None) -> None:
    """Put a small empty /tmp over the shared one, owned by ``user``, and go there. It is gone with its last process."""
    owner = "" if user is None else f",uid={user},gid={user}"
    _mount("tmpfs", "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, _OWN_TMP + owner)
    os.chdir("/tmp")


def _exit_code(status: int) -> int:
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
    result = libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    check(f"mount {target}", result)


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text)
    except OSError as error:
        raise SandboxUnavailable(f"{path}: {error.strerror}") from error
