"""Assemble the mechanisms of a sandbox level, and test that they hold before the level is used."""

from __future__ import annotations

import contextlib
import os
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from evomerge.evaluation.judging.sandbox import landlock, limits, namespaces, readable_folders, seccomp
from evomerge.evaluation.judging.sandbox.remove_tree import remove_tree
from evomerge.evaluation.judging.sandbox.settings import SandboxSettings, SandboxUnavailable

# User ids of one judge: this many for answers, then as many for the processes that run their tests.
_USERS = 10_000


@dataclass(frozen=True)
class Walls:
    """The mechanisms that confine processes at a level, as far as this system has them.

    Attributes:
        settings: limits of one answer.
        own_root: the file system holds Python's library alone.
        nested: every code answer gets process numbers and a /tmp of its own.
        landlock: answers are limited to Python's library and their folder.
        seccomp: answers' system calls are filtered.
        first_user: answers get user ids from here on; None: they run as the judge's user.
    """

    settings: SandboxSettings
    own_root: bool = False
    nested: bool = False
    landlock: bool = False
    seccomp: bool = False
    first_user: int | None = None

    def confine_examiner(self, keep: Iterable[int], cpu_seconds: int, memory: int) -> None:
        """Confine this process for good; it runs trusted code on a model's values or queries.

        Args:
            keep: its descriptors, above 2.
        """
        user = None if self.first_user is None else self.first_user + _USERS + os.getpid() % _USERS
        self._confine(user, keep, cpu_seconds, memory, None)

    def _confine(
        self, user: int | None, keep: Iterable[int], cpu_seconds: int, memory: int, folder: str | None
    ) -> None:
        os.setsid()
        os.environ.clear()
        limits.close_descriptors(keep)
        if folder is not None:
            os.chdir(folder)
        limits.drop_privileges(user)
        limits.limit(cpu_seconds, memory)
        if self.landlock:
            readable = readable_folders.folders() if self.own_root else readable_folders.readable()
            landlock.restrict(readable, [] if folder is None else ["."])
        if self.seccomp:
            seccomp.install(seccomp.refused_numbers())

    def fork_answer(self, number: int, fd: int, body: Callable[[], object]) -> tuple[int, str | None]:
        """Start a confined process that runs ``body`` with descriptor ``fd``, in a folder of its own.

        Returns:
            its pid, and the folder to remove afterwards; None if the folder vanishes with the process.
        """
        folder = None if self.nested else os.path.abspath(tempfile.mkdtemp(prefix="answer", dir="."))
        pid = namespaces.fork_nested() if self.nested else os.fork()
        if pid == 0:
            try:
                user = None if self.first_user is None else self.first_user + number % _USERS
                if folder is None:
                    namespaces.mount_own_tmp(user)
                elif user is not None:
                    os.chown(folder, user, user)
                self._confine(user, [fd], self.settings.code_seconds, self.settings.memory, folder or "/tmp")
                if folder is not None:
                    os.environ["TMPDIR"] = folder
                body()
            finally:
                os._exit(1)
        return pid, folder


def build(level: str, folder: str, settings: SandboxSettings) -> Walls:
    """Enter ``level`` (bubblewrap has been entered before) and find out which mechanisms work.

    Args:
        folder: an empty folder; it becomes the working folder, unless a namespace provides another.

    Raises:
        SandboxUnavailable: this system does not offer the level.
    """
    walls = Walls(settings)
    if level == "namespaces":
        namespaces.enter(folder)
        walls = replace(walls, own_root=True, nested=True)
    elif level == "bubblewrap":
        # Systems that let bubblewrap alone make namespaces (Ubuntu 24.04) refuse this; Landlock then hides the rest.
        with contextlib.suppress(SandboxUnavailable):
            os.mkdir("root")
            namespaces.change_root(os.path.abspath("root"))
            walls = replace(walls, own_root=True, nested=True)
    else:
        os.chmod(folder, 0o711)  # answers with user ids of their own walk through it
        os.chdir(folder)
    walls = replace(
        walls,
        landlock=landlock.version() > 0 and _failure(_try_landlock) is None,
        seccomp=_failure(_try_seccomp) is None,
    )
    if level != "rlimits":
        if not walls.seccomp:
            raise SandboxUnavailable(f"no seccomp filters ({_failure(_try_seccomp)})")
        if not (walls.own_root or walls.landlock):
            raise SandboxUnavailable(f"nothing hides files (Landlock: {_failure(_try_landlock)})")
    reason = "no user"
    for first in _first_users():
        tried = replace(walls, first_user=first)
        reason = _try_answer(tried) or ""
        if not reason:
            return tried
    raise SandboxUnavailable(reason)


def _first_users() -> tuple[int | None, ...]:
    """First user ids to try. Root takes ids beyond all users', another range for each judge; then ids that containers
    map; then None: answers run as the judge's user."""
    if os.geteuid() != 0:
        return (None,)
    return 1_000_000_000 + 2 * _USERS * int.from_bytes(os.urandom(2), "big"), 40_000, None


def _try_landlock() -> None:
    limits.drop_privileges(None)
    landlock.restrict([], [])


def _try_seccomp() -> None:
    limits.drop_privileges(None)
    seccomp.install(seccomp.refused_numbers())


def _try_answer(walls: Walls) -> str | None:
    """Test the mechanisms on a process like an answer's. Returns None, or what it could not do, or wrongly could."""
    reader, writer = os.pipe()
    outside = os.path.abspath(__file__)

    def body() -> None:
        message = ""
        try:
            for name in ("this.py", "antigravity.py"):  # any module of the library
                with open(os.path.join(sysconfig.get_path("stdlib"), name), "rb") as module:
                    module.read()
            with tempfile.TemporaryFile() as file:
                file.write(b"x")
        except OSError as error:
            message = f"an answer could not run: {error}"
        if walls.own_root or walls.landlock:
            with contextlib.suppress(OSError):
                open(outside, "rb").close()
                message = "an answer could read our files"
        if walls.seccomp:
            with contextlib.suppress(OSError):
                if os.fork() == 0:
                    os._exit(0)
                message = "an answer could start processes"
        os.write(writer, message.encode() or b"ok")

    pid, folder = walls.fork_answer(0, writer, body)
    os.close(writer)
    said = os.read(reader, 1000).decode()
    os.close(reader)
    os.waitpid(pid, 0)
    if folder is not None:
        remove_tree(folder)
    return None if said == "ok" else said or "an answer's process could not be confined"


def _failure(action: Callable[[], None]) -> str | None:
    """Why ``action`` fails, found by running it in a child; None if it works."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os.write(writer, b"ok")
        except (SandboxUnavailable, OSError) as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    said = os.read(reader, 1000).decode()
    os.close(reader)
    os.waitpid(pid, 0)
    return None if said == "ok" else said or "killed"
