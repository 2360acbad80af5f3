"""The judge's own process: a clean interpreter in the sandbox that takes batches of answers and gives verdicts.

Four kinds of processes, and which code each runs:

server    this module; reads requests from standard input. Trusted code only; builds databases and runs gold queries.
zygote    forked from the server before it has read anything, so that it knows no test; forks a process per answer.
answer    a child of the zygote: unprivileged, limited, alone in a pid namespace; runs the model's program.
examiner  a child of the server per code answer; runs the tests (trusted) and calls the answer through a socket.

SQL and JSON are judged many in one limited child of the server, which is replaced when an answer kills it.
"""

from __future__ import annotations

import array
import json
import os
import resource
import select
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from evomerge.evaluation import code, frames, json_schema, sandbox, sql
from evomerge.evaluation.sandbox import SandboxSettings, SandboxUnavailable

_MAX_ATTEMPTS = 3
# A busy machine must not turn a right answer into a wrong one: CPU time decides, wall time only ends sleepers.
_WALL_PER_CPU = 5
# Makes the user ids of two judges on one machine differ.
_SALT = int.from_bytes(os.urandom(4), "big")


def main(arguments: str) -> None:
    """Enter the sandbox, say so, then serve until standard input ends."""
    options = json.loads(arguments)
    settings = SandboxSettings(**options["settings"])
    # Whatever is imported late must be imported now: the sandbox's file system holds the standard library alone.
    json_schema.judge('{"a": 1}', {"type": "object"})
    replies = os.dup(1)
    os.dup2(2, 1)
    try:
        if options["level"] == "namespaces":
            sandbox.enter_namespaces(options["folder"])
        sandbox.hide_from_peers()
        zygote = Zygote(settings)
    except (SandboxUnavailable, OSError) as error:
        frames.send(replies, json.dumps({"failed": str(error)}).encode())
        return
    frames.send(replies, json.dumps({"level": options["level"]}).encode())
    server = Server(settings, zygote)
    while (request := frames.receive(0)) is not None:
        frames.send(replies, json.dumps(server.judge(json.loads(request))).encode())


class Zygote:
    """Handle of the process that forks one process per code answer. It has seen no test."""

    def __init__(self, settings: SandboxSettings) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._count = 0
        if os.fork() == 0:
            self._socket.close()
            _serve_zygote(theirs, settings)
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
        self._socket.recv(16)


def _serve_zygote(control: socket.socket, settings: SandboxSettings) -> None:
    # Modules that answers import most: imported once here instead of once per answer.
    import collections, functools, heapq, itertools, math, random, re, string, typing  # noqa: E401, F401, I001

    # Neither our own modules nor anything installed is there for answers to import.
    sys.path[:] = [path for path in sys.path if path in sandbox.library_paths()]
    running: dict[int, tuple[int, str]] = {}
    while True:
        message, ancillary, _, _ = control.recvmsg(64, socket.CMSG_LEN(4))
        if not message:
            return
        number = int(message[1:])
        if message[:1] == b"s":
            fd = array.array("i", ancillary[0][2])[0]
            folder = tempfile.mkdtemp(prefix="answer", dir=".")
            pid = sandbox.fork_in_pid_namespace()
            if pid == 0:
                _become_answer(fd, folder, number, settings)
            os.close(fd)
            running[number] = (pid, folder)
        else:
            pid, folder = running.pop(number)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            shutil.rmtree(folder, ignore_errors=True)
            control.send(b"done")


def _become_answer(fd: int, folder: str, number: int, settings: SandboxSettings) -> None:
    try:
        user = sandbox.own_user(_SALT - number)
        if user is not None:
            os.chown(folder, user, user)
        os.chdir(folder)
        os.setsid()
        sandbox.close_other_fds(fd)
        sandbox.drop_privileges(user)
        sandbox.limit(settings.code_seconds, settings.memory)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        code.answer_calls(fd)
    finally:
        os._exit(1)


class Server:
    """Judges batches. Owns the databases and gold results it has built."""

    def __init__(self, settings: SandboxSettings, zygote: Zygote) -> None:
        self._settings = settings
        self._zygote = zygote
        self._databases: dict[str, bytes] = {}
        self._gold: dict[tuple[str, str], sql.Result] = {}

    def judge(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """A batch ``{"kind": ..., "items": [[item, answer], ...]}``: per answer its metrics, or ``{"error": text}``
        when the item itself or the judge is at fault."""
        items = request["items"]
        if request["kind"] == "code":
            return self._judge_code(items)
        if request["kind"] == "json":
            jobs: list[Any] = [
                lambda item=item, answer=answer: json_schema.judge(answer, item["schema"]) for item, answer in items
            ]
            return self._in_children(jobs, {"json_schema": 0.0, "json_valid": 0.0}, 2.0)
        jobs = [self._sql_job(item, answer) for item, answer in items]
        # The child's own limit is a second above the query's: it is for what SQLite cannot interrupt.
        return self._in_children(jobs, {"sql_exec": 0.0, "sql_valid": 0.0}, self._settings.sql_seconds + 1)

    def _sql_job(self, item: dict[str, Any], answer: str) -> Callable[[], dict[str, float]] | str:
        key = json.dumps(item["database"])
        gold_query = item["sql"]
        try:
            if key not in self._databases:
                self._databases[key] = sql.build_database(item["database"])
            database = self._databases[key]
            if (key, gold_query) not in self._gold:
                self._gold[key, gold_query] = sql.run_query(database, sql.extract_query(gold_query), 30.0)
        except (sqlite3.Error, sqlite3.Warning, sql.QueryFailed) as error:
            return f"its database or gold query is wrong: {error}"
        gold, ordered = self._gold[key, gold_query], sql.is_ordered(gold_query)
        return lambda: sql.judge(answer, database, gold, ordered, self._settings.sql_seconds)

    def _in_children(
        self, jobs: list[Callable[[], dict[str, float]] | str], wrong: dict[str, float], cpu_seconds: float
    ) -> list[dict[str, Any]]:
        """Run jobs in a limited child; an answer that kills it is wrong; a new child goes on."""
        results: list[dict[str, Any]] = []
        while len(results) < len(jobs):
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                _run_jobs(jobs, len(results), writer, cpu_seconds, self._settings.memory)
            os.close(writer)
            while len(results) < len(jobs):
                # Wall time is generous: the CPU limit is what ends a busy answer.
                ready, _, _ = select.select([reader], [], [], 10 * cpu_seconds + 10)
                message = frames.receive(reader) if ready else None
                if message is None:
                    results.append(dict(wrong))
                    break
                results.append(json.loads(message))
            os.close(reader)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        return results

    def _judge_code(self, items: list[list[Any]]) -> list[dict[str, Any]]:
        verdicts: list[bytes] = [b""] * len(items)
        waiting = [(index, 1) for index in reversed(range(len(items)))]
        running: dict[int, tuple[int, int, int, int, float]] = {}
        wall = float(_WALL_PER_CPU * self._settings.code_seconds)
        poll = select.poll()
        while waiting or running:
            while waiting and len(running) < self._settings.parallel:
                index, attempt = waiting.pop()
                number, connection = self._zygote.start()
                reader, writer = os.pipe()
                pid = os.fork()
                if pid == 0:
                    _examine(connection, writer, items[index][0], items[index][1], self._settings)
                connection.close()
                os.close(writer)
                running[reader] = (index, attempt, pid, number, time.monotonic() + wall)
                poll.register(reader, select.POLLIN | select.POLLHUP)
            next_deadline = min(deadline for *_, deadline in running.values())
            ready = {fd for fd, _ in poll.poll(max(0.0, next_deadline - time.monotonic()) * 1000 + 1)}
            now = time.monotonic()
            for reader in [fd for fd, entry in running.items() if fd in ready or entry[4] <= now]:
                index, attempt, pid, number, _ = running.pop(reader)
                verdict = os.read(reader, 1) if reader in ready else code.FAILED
                poll.unregister(reader)
                os.close(reader)
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                self._zygote.kill(number)
                if verdict == code.NOT_STARTED and attempt < _MAX_ATTEMPTS:
                    waiting.append((index, attempt + 1))
                else:
                    verdicts[index] = verdict
        return [
            {"error": "the sandbox could not start a process for it"} if v == code.NOT_STARTED else code.metrics(v)
            for v in verdicts
        ]


def _examine(
    connection: socket.socket, writer: int, item: dict[str, str], answer: str, settings: SandboxSettings
) -> None:
    """Body of the examiner: trusted code, but a wrong value can make a test endless or huge."""
    verdict = code.NOT_STARTED
    try:
        sandbox.drop_privileges(sandbox.own_user(_SALT + os.getpid()))
        sandbox.limit(settings.code_seconds, settings.memory)
        sandbox.hide_from_peers()
        verdict = code.run_tests(connection.fileno(), item, answer)
    finally:
        os.write(writer, verdict)
        os._exit(0)


def _run_jobs(jobs: list[Any], start: int, writer: int, cpu_seconds: float, memory: int) -> None:
    """Body of the child for SQL and JSON."""
    try:
        sandbox.drop_privileges(sandbox.own_user(_SALT + os.getpid()))
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        sandbox.limit(hard if hard != resource.RLIM_INFINITY else 1 << 30, memory)
        for job in jobs[start:]:
            used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (int(used + cpu_seconds) + 1, hard))
            try:
                result: dict[str, Any] = {"error": job} if isinstance(job, str) else job()
            except MemoryError:
                return
            frames.send(writer, json.dumps(result).encode())
    finally:
        os._exit(0)
