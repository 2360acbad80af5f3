"""Start a sandboxed process for each answer that runs as a program.

The zygote is forked from the judge's process before that has read any item, so neither it nor the processes that it
forks know a test.
"""

from __future__ import annotations

import array
import contextlib
import functools
import os
import pkgutil
import signal
import socket
import sys

from evomerge.evaluation.judging.sandbox import readable_folders
from evomerge.evaluation.judging.sandbox.assembly import Walls
from evomerge.evaluation.judging.sandbox.remove_tree import remove_tree


class Zygote:
    """Handle of the process that forks one process per answer."""

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

    def start(self, body: str) -> tuple[int, socket.socket]:
        """Start a process for one answer.

        Args:
            body: ``module:function`` of a module that was imported before the zygote was forked; the function gets
                the descriptor of its socket.

        Returns:
            the process's number, and our end of the socket.
        """
        ours, theirs = socket.socketpair()
        self._count += 1
        fds = array.array("i", [theirs.fileno()])
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
        self._socket.sendmsg([f"s{self._count} {body}".encode()], ancillary)
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

    # Answers can import only the standard library.
    sys.path[:] = [path for path in sys.path if path in readable_folders.paths_of_python()]
    sys.argv[:] = [""]
    running: dict[int, tuple[int, str | None]] = {}
    while True:
        message, ancillary, _, _ = control.recvmsg(1024, socket.CMSG_LEN(4))
        if not message:  # the judge's process is gone
            for number in list(running):
                _end(*running.pop(number))
            return
        if message[:1] == b"s":
            digits, body = message[1:].decode().split()
            fd = array.array("i", ancillary[0][2])[0]
            function = pkgutil.resolve_name(body)
            running[int(digits)] = walls.fork_answer(int(digits), fd, functools.partial(function, fd))
            os.close(fd)
        else:
            _end(*running.pop(int(message[1:])))
            control.send(b"done")


def _end(pid: int, folder: str | None) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    if folder is not None:
        with contextlib.suppress(OSError):
            remove_tree(folder)
