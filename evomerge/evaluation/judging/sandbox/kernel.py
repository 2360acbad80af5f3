"""System calls that Python does not wrap. Standard library only: this runs in the judge."""

from __future__ import annotations

import ctypes
import os
import platform

from evomerge.evaluation.judging.sandbox.settings import SandboxUnavailable

# PyDLL keeps the interpreter lock: a raw clone() must not come back in a child whose lock belongs to nobody.
libc = ctypes.PyDLL(None, use_errno=True)

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 1, 4, 38

#: Column of the tables of system call numbers for this machine: 0 x86_64, 1 aarch64; None: no table for it.
COLUMN: int | None = {"x86_64": 0, "aarch64": 1}.get(platform.machine())


def check(name: str, result: int) -> int:
    """``result`` of a libc call, or SandboxUnavailable when it is negative."""
    if result < 0:
        raise SandboxUnavailable(f"{name}: {os.strerror(ctypes.get_errno())}")
    return result


def syscall(name: str, numbers: tuple[int, int] | int, *arguments: object) -> int:
    """A system call by number: one for all architectures, or (x86_64, aarch64).

    Raises:
        SandboxUnavailable: refused, or unknown on this architecture.
    """
    if not isinstance(numbers, int):
        if COLUMN is None:
            raise SandboxUnavailable(f"{name}: not known for architecture {platform.machine()}")
        numbers = numbers[COLUMN]
    return check(name, int(libc.syscall(numbers, *arguments)))


def prctl(option: int, value: int) -> None:
    """Raises SandboxUnavailable when refused."""
    check("prctl", libc.prctl(option, value, 0, 0, 0))
