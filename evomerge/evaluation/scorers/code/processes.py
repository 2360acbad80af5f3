"""The processes of code answers, in the judge: who runs the model's program, and who runs the tests on it.

zygote    forked from the server before it has read anything, so that it knows no test; forks a process per answer.
answer    a child of the zygote behind the sandbox's walls: runs the model's program.
examiner  a child of the server per answer, unprivileged, too: runs the tests and calls the answer through a socket.
"""

from __future__ import annotations

import array
import contextlib
import functools
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from evomerge.evaluation.judging.sandbox import readable_folders
from evomerge.evaluation.judging.sandbox.assembly import Walls
from evomerge.evaluation.judging.sandbox.remove_tree import remove_tree
from evomerge.evaluation.scorers.code import run_tests

MAX_ATTEMPTS = 3


class Zygote:
    """Handle of the process that forks one process per code answer. It has seen no test."""

    def __init__(self, walls: Walls) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._count = 0
        if os.fork() == 0:
            self._socket.close()
            try:
                _serve(theirs, walls)
            finally:
                os._exit(0)
        theirs.close()

    def start(self) -> tuple[int, socket.socket]:
        """Start a process for one answer: its number and the socket to it."""
        ours, theirs = socket.socketpair()
        self._count += 1
        fds = array.array("i", [theirs.fileno()])
        self._socket.sendmsg([b"s%d" % self._count], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        theirs.close()
        return self._count, ours

    def kill(self, number: int) -> None:
        """End an answer's process, and wait until it is gone."""
        self._socket.send(b"k%d" % number)
        if not self._socket.recv(16):
            raise RuntimeError("the zygote is gone")


def _serve(control: socket.socket, walls: Walls) -> None:
    # Modules that answers import most: imported once here instead of once per answer.
    import collections, heapq, itertools, math, random, re, string, typing  # noqa: E401, F401, I001

    # Neither our own modules nor anything installed is there for answers to import.
    sys.path[:] = [path for path in sys.path if path in readable_folders.paths_of_python()]
    sys.argv[:] = [""]
    running: dict[int, tuple[int, str | None]] = {}
    while True:
        message, ancillary, _, _ = control.recvmsg(64, socket.CMSG_LEN(4))
        if not message:  # the server is gone
            for number in list(running):
                _end(*running.pop(number))
            return
        number = int(message[1:])
        if message[:1] == b"s":
            fd = array.array("i", ancillary[0][2])[0]
            running[number] = walls.fork_answer(number, fd, functools.partial(run_tests.answer_calls, fd))
            os.close(fd)
        else:
            _end(*running.pop(number))
            control.send(b"done")


def _end(pid: int, folder: str | None) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if folder is not None:
        with contextlib.suppress(OSError):
            remove_tree(folder)


@dataclass(frozen=True)
class _Running:
    """An answer being examined: its index, which attempt this is, the examiner's pid, the answer's number."""

    index: int
    attempt: int
    examiner: int
    number: int
    deadline: float


def judge_code(zygote: Zygote, walls: Walls, items: Sequence[tuple[dict[str, str], str]]) -> list[bytes]:
    """Verdicts (``run_tests.PASSED`` ...) on pairs of item and answer; several run at once."""
    settings = walls.settings
    verdicts = [b""] * len(items)
    waiting = [(index, 1) for index in reversed(range(len(items)))]
    running: dict[int, _Running] = {}
    started: set[int] = set()
    poll = select.poll()
    while waiting or running:
        while waiting and len(running) < settings.parallel:
            index, attempt = waiting.pop()
            number, connection = zygote.start()
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                _examine(connection, writer, *items[index], walls)
            connection.close()
            os.close(writer)
            running[reader] = _Running(index, attempt, pid, number, time.monotonic() + settings.code_wall)
            poll.register(reader, select.POLLIN | select.POLLHUP)
        next_deadline = min(entry.deadline for entry in running.values())
        ready = {fd for fd, _ in poll.poll(max(0.0, next_deadline - time.monotonic()) * 1000 + 1)}
        now = time.monotonic()
        for reader in [fd for fd, entry in running.items() if fd in ready or entry.deadline <= now]:
            said = os.read(reader, 1) if reader in ready else b""
            if said == run_tests.STARTED:
                started.add(reader)
                continue
            entry = running.pop(reader)
            # One that ends without a word was killed: by what the answer gave it, if it had begun with that.
            verdict = said or (run_tests.FAILED if reader in started else run_tests.NOT_STARTED)
            started.discard(reader)
            poll.unregister(reader)
            os.close(reader)
            os.kill(entry.examiner, signal.SIGKILL)
            os.waitpid(entry.examiner, 0)
            zygote.kill(entry.number)
            if verdict == run_tests.NOT_STARTED and entry.attempt < MAX_ATTEMPTS:
                waiting.append((entry.index, entry.attempt + 1))
            else:
                verdicts[entry.index] = verdict
    return verdicts


def _examine(connection: socket.socket, writer: int, item: dict[str, str], answer: str, walls: Walls) -> None:
    """Body of the examiner: trusted code, but a wrong value can make a test endless or huge."""
    verdict = run_tests.NOT_STARTED
    try:
        walls.confine_examiner([connection.fileno(), writer], walls.settings.code_seconds, walls.settings.memory)
        if run_tests.is_ready(connection.fileno()):
            os.write(writer, run_tests.STARTED)
            verdict = run_tests.run_tests(connection.fileno(), item, answer)
    finally:
        os.write(writer, verdict)
        os._exit(0)
