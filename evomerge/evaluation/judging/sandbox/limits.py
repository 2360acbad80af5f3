"""Limit resources, close descriptors and drop privileges: what every level does."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Iterable

from evomerge.evaluation.judging.sandbox.kernel import (
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    libc,
    prctl,
    syscall,
)

_CAPSET = (126, 91)
_CAPABILITY_VERSION_3 = 0x20080522
FILE_BYTES = 1 << 20
_FILES = 32
# Opened when the module is read: the sandbox's file system has no /dev.
_NULL = open(os.devnull, "r+b", buffering=0)  # noqa: SIM115


def limit(cpu_seconds: int, memory: int) -> None:
    """Limits of one answer's process. It can start neither processes nor threads."""
    # soft = hard: SIGXCPU would be ignored by pid 1 of a namespace, SIGKILL at the hard limit is not.
    for name, value in (
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 1),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
    ):
        _, hard = resource.getrlimit(name)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(name, (value, value))


def close_descriptors(keep: Iterable[int]) -> None:
    """Standard streams become /dev/null; every other descriptor but ``keep`` (all above 2) is closed."""
    for fd in (0, 1, 2):
        os.dup2(_NULL.fileno(), fd)
    start = 3
    for fd in sorted(keep):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, max(start, 65536))


def hide_from_peers() -> None:
    """No process of the same user may trace this one or read its memory."""
    prctl(PR_SET_DUMPABLE, 0)


def drop_privileges(user: int | None) -> None:
    """Become ``user`` (None: stay who we are) without any capability, for good, and die with the parent.

    Raises:
        OSError: not that user; SandboxUnavailable: refused.
    """
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    syscall("capset", _CAPSET, header, (ctypes.c_uint32 * 6)())
    # After the change of user, which clears it. Not checked: where it is refused, the judge kills what it started.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
