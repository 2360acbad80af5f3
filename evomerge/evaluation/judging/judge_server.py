"""The judge's own process: a clean interpreter in the sandbox that takes batches of answers and gives verdicts.

This process, the server, reads requests from standard input, holds databases and gold results and runs trusted code
alone. Code answers have processes of their own (:mod:`evomerge.evaluation.scorers.code.processes`). SQL and JSON are
judged many in one child behind the sandbox's walls, which is replaced when an answer kills it.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
from collections.abc import Callable
from typing import Any

from evomerge.evaluation.judging import framed_messages
from evomerge.evaluation.judging.sandbox import SandboxSettings, SandboxUnavailable, assembly, limits
from evomerge.evaluation.judging.sandbox.assembly import Walls
from evomerge.evaluation.scorers.code import run_tests
from evomerge.evaluation.scorers.code.processes import MAX_ATTEMPTS, Zygote, judge_code
from evomerge.evaluation.scorers.json import check_answer
from evomerge.evaluation.scorers.sql import queries

_READY = b"ready"  # what a child says once it is behind the walls
_NOT_STARTED = "the sandbox could not start a process for it"


def main(arguments: str) -> None:
    """Enter the sandbox, say so, then serve until standard input ends."""
    options = json.loads(arguments)
    settings = SandboxSettings(**options["settings"])
    # Whatever is imported late must be imported now: the sandbox's file system holds the standard library alone.
    check_answer.judge({"schema": {"type": "object"}}, '{"a": 1}')
    replies = os.dup(1)
    os.dup2(2, 1)
    try:
        surrounding = assembly.build(options["level"], options["folder"], settings)
        limits.hide_from_peers()
        zygote = Zygote(surrounding)
    except (SandboxUnavailable, OSError) as error:
        framed_messages.send(replies, json.dumps({"failed": str(error)}).encode())
        return
    framed_messages.send(replies, json.dumps({"level": options["level"]}).encode())
    server = Server(surrounding, zygote)
    while (message := framed_messages.receive(0)) is not None:
        request = json.loads(message)
        if request["kind"] == "database":
            server.add_database(request["stamp"], framed_messages.receive(0, request["bytes"]) or b"")
        else:
            framed_messages.send(replies, json.dumps(server.judge(request)).encode())


class Server:
    """Judges batches. Owns the databases and gold results."""

    def __init__(self, walls: Walls, zygote: Zygote) -> None:
        self._walls = walls
        self._settings = walls.settings
        self._zygote = zygote
        self._sql = queries.Judging()
        self._sql_seconds = self._settings.sql_seconds

    def add_database(self, stamp: str, database: bytes) -> None:
        """Take a database file's bytes, which the sandbox cannot read."""
        self._sql.add(stamp, database)

    def judge(self, request: dict[str, Any]) -> list[dict[str, Any]]:
        """A batch ``{"kind": ..., "items": [[item, answer], ...]}``: per answer its metrics, or ``{"error": text}``
        when the item itself or the judge is at fault."""
        items = request["items"]
        if request["kind"] == "code":
            return [_code_metrics(verdict) for verdict in judge_code(self._zygote, self._walls, items)]
        if request["kind"] == "json":
            jobs: list[Any] = [
                lambda item=item, answer=answer: check_answer.judge(item, answer) for item, answer in items
            ]
            return self._in_children(jobs, [check_answer.wrong(item) for item, _ in items], 2.0, self._settings.memory)
        jobs = [self._sql_job(item, answer) for item, answer in items]
        # The child's own limit is above the query's: it is for what SQLite cannot interrupt.
        wrong = [{"sql_exec": 0.0, "sql_valid": 0.0}] * len(jobs)
        memory = self._settings.memory + 2 * self._sql.nbytes  # they are there already, and one is copied
        return self._in_children(jobs, wrong, self._sql_seconds + 1, memory)

    def _sql_job(self, item: dict[str, Any], answer: str) -> Callable[[], dict[str, float]] | str:
        try:
            prepared = self._sql.prepare(item)
        except queries.BadItem as error:
            return str(error)
        self._sql_seconds = max(self._sql_seconds, prepared.longest(self._settings.sql_seconds))
        return lambda: queries.judge(prepared, answer, self._settings.sql_seconds)

    def _in_children(
        self,
        jobs: list[Callable[[], dict[str, float]] | str],
        wrong: list[dict[str, float]],
        cpu_seconds: float,
        memory: int,
    ) -> list[dict[str, Any]]:
        """Run jobs in a limited child; an answer that kills it is wrong; a new child goes on. A child that cannot put
        itself behind the walls says nothing about an answer."""
        results: list[dict[str, Any]] = []
        failed = 0
        while len(results) < len(jobs):
            reader, writer = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reader)
                _run_jobs(jobs[len(results) :], writer, cpu_seconds, memory, self._walls)
            os.close(writer)
            # Wall time is generous: the CPU limit is what ends a busy answer.
            seconds = 10 * cpu_seconds + 10
            reason = _next_message(reader, seconds) or b"it died"
            failed = 0 if reason == _READY else failed + 1
            while reason == _READY and len(results) < len(jobs):
                message = _next_message(reader, seconds)
                if message is None:
                    results.append(dict(wrong[len(results)]))
                    break
                results.append(json.loads(message))
            os.close(reader)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            if failed == MAX_ATTEMPTS:
                error = f"{_NOT_STARTED}: {reason.decode()}"
                results += [{"error": error} for _ in range(len(results), len(jobs))]
        return results


def _next_message(reader: int, seconds: float) -> bytes | None:
    ready, _, _ = select.select([reader], [], [], seconds)
    return framed_messages.receive(reader) if ready else None


def _code_metrics(verdict: bytes) -> dict[str, Any]:
    if verdict == run_tests.NOT_STARTED:
        return {"error": _NOT_STARTED}
    return run_tests.metrics(verdict)


def _run_jobs(jobs: list[Any], writer: int, cpu_seconds: float, memory: int, walls: Walls) -> None:
    """Body of the child for SQL and JSON."""
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        try:
            walls.confine_examiner([writer], hard if hard != resource.RLIM_INFINITY else 1 << 30, memory)
        except Exception as error:  # whatever it is, it is told
            framed_messages.send(writer, f"{type(error).__name__}: {error}".encode())
            return
        framed_messages.send(writer, _READY)
        for job in jobs:
            used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (int(used + cpu_seconds) + 1, hard))
            try:
                result: dict[str, Any] = {"error": job} if isinstance(job, str) else job()
            except MemoryError:
                return
            framed_messages.send(writer, json.dumps(result).encode())
    finally:
        os._exit(0)
