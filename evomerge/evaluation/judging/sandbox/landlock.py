"""Restrict this process and its children to named folders, by Landlock, whatever their user.

Source: docs.kernel.org/userspace-api/landlock.html. The kernel's version decides how much more than opening is
denied: renaming across folders (2), truncating (3), TCP (4), ioctl on devices (5), abstract sockets and signals (6).
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterable

from evomerge.evaluation.judging.sandbox.kernel import libc, syscall

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
# Remove and make folders, files and links, rename between folders, truncate: no devices, sockets or pipes.
_CHANGE = 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 12 | 1 << 13 | 1 << 14
_ALL_BY_VERSION = ((1 << 13) - 1, (1 << 14) - 1, (1 << 15) - 1, (1 << 15) - 1, (1 << 16) - 1)
_BIND_AND_CONNECT_TCP, _ABSTRACT_SOCKETS_AND_SIGNALS = 3, 3


def version() -> int:
    """Landlock's version in this kernel, 0 where there is none."""
    return max(0, int(libc.syscall(_CREATE, None, 0, _VERSION_FLAG)))


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Forbid this process, for good, to open anything but what lies in ``readable`` (to read) and ``writable``.

    Needs no privilege, but that ``PR_SET_NO_NEW_PRIVS`` is set.

    Raises:
        SandboxUnavailable: the kernel has no Landlock or it is refused.
    """
    found = version()
    every = _ALL_BY_VERSION[min(max(found, 1), 5) - 1]
    network = _BIND_AND_CONNECT_TCP if found >= 4 else 0
    scope = _ABSTRACT_SOCKETS_AND_SIGNALS if found >= 6 else 0
    attributes = ctypes.create_string_buffer(struct.pack("=QQQ", every, network, scope), 24)
    rules = syscall("landlock_create_ruleset", _CREATE, attributes, ctypes.c_size_t(24), 0)
    try:
        for path in readable:
            _allow(rules, path, _READ_FILE | _READ_DIR if os.path.isdir(path) else _READ_FILE)
        for path in writable:
            _allow(rules, path, (_READ_FILE | _READ_DIR | _WRITE_FILE | _CHANGE) & every)
        syscall("landlock_restrict_self", _RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, access: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = ctypes.create_string_buffer(struct.pack("=Qi", access, fd), 12)
        syscall("landlock_add_rule", _ADD_RULE, rules, _PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)
