"""Find the folders of Python's library: the only ones that an answer may read."""

from __future__ import annotations

import os
import sys
import sysconfig

_PACKAGES = ("site-packages", "dist-packages")


def folders() -> list[str]:
    """Folders of the standard library and of shared libraries, outer ones before what they hold."""
    paths = {*paths_of_python(), f"{sys.base_prefix}/lib", "/lib", "/lib64", "/usr/lib", "/usr/lib64"}
    return sorted(path for path in paths if os.path.isdir(path))


def paths_of_python() -> set[str]:
    """Entries of ``sys.path`` that are Python's own."""
    stdlib = sysconfig.get_path("stdlib")
    return {stdlib, sysconfig.get_path("platstdlib"), f"{stdlib}/lib-dynload"}


def installed_packages() -> list[str]:
    """Folders inside :func:`folders` that hold installed packages, which answers may not read."""
    inside = {f"{path}/{name}" for path in (*paths_of_python(), f"{sys.base_prefix}/lib") for name in _PACKAGES}
    return sorted(path for path in inside if os.path.isdir(path))


def readable() -> list[str]:
    """Paths that cover :func:`folders` without the installed packages, for rules that can only allow."""
    hidden = {os.path.realpath(path) for path in installed_packages()}
    paths: list[str] = []
    waiting = folders()
    while waiting:
        path = waiting.pop()
        real = os.path.realpath(path)
        if real in hidden:
            continue
        if any(other.startswith(real + os.path.sep) for other in hidden):
            waiting += [entry.path for entry in os.scandir(path)]
        else:
            paths.append(path)
    return paths
