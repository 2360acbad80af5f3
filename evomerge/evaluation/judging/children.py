"""Judge many cheap answers in one sandboxed child of the judge's process."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from evomerge.evaluation.judging import framed_messages
from evomerge.evaluation.judging.sandbox.assembly import Walls

Metrics = dict[str, float]
Verdict = dict[str, Any]
"""Metrics of one answer, or ``{"error": text}`` where the item or the judge is at fault."""

MAX_ATTEMPTS = 3  # to start a confined process
NOT_STARTED = "the sandbox could not start a process for it"
_READY = b"ready"  # what a child says once it is confined


@dataclass(frozen=True)
class Job:
    """How one answer is judged.

    Attributes:
        run: gives its metrics.
        wrong: its metrics if it kills the child.
        cpu_seconds: that it may take.
        memory: bytes beyond the sandbox's limit.
        error: why it cannot be judged; then it is not run.
    """

    run: Callable[[], Metrics] = dict
    wrong: Metrics = field(default_factory=dict)
    cpu_seconds: float = 0.0
    memory: int = 0
    error: str | None = None


def run_in_children(jobs: Sequence[Job], walls: Walls) -> list[Verdict]:
    """Verdicts in order. An answer that kills the child is wrong, and a new child judges the rest. A child that cannot
    confine itself says nothing about an answer."""
    verdicts: list[Verdict] = []
    memory = walls.settings.memory + max((job.memory for job in jobs), default=0)
    failed = 0
    while len(verdicts) < len(jobs):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _run(jobs[len(verdicts) :], writer, memory, walls)
        os.close(writer)
        reason = _next_message(reader, jobs[len(verdicts)]) or b"it died"
        failed = 0 if reason == _READY else failed + 1
        while reason == _READY and len(verdicts) < len(jobs):
            job = jobs[len(verdicts)]
            message = _next_message(reader, job)
            if message is None:
                verdicts.append({"error": job.error} if job.error is not None else dict(job.wrong))
                break
            verdicts.append(json.loads(message))
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if failed == MAX_ATTEMPTS:
            error = f"{NOT_STARTED}: {reason.decode()}"
            verdicts += [{"error": error} for _ in range(len(verdicts), len(jobs))]
    return verdicts


def _next_message(reader: int, job: Job) -> bytes | None:
    # Wall time is generous: the CPU limit is what ends a busy answer.
    ready, _, _ = select.select([reader], [], [], 10 * job.cpu_seconds + 10)
    return framed_messages.receive(reader) if ready else None


def _run(jobs: Sequence[Job], writer: int, memory: int, walls: Walls) -> None:
    """Body of the child."""
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        try:
            walls.confine_examiner([writer], hard if hard != resource.RLIM_INFINITY else 1 << 30, memory)
        except Exception as error:  # the judge reports it
            framed_messages.send(writer, f"{type(error).__name__}: {error}".encode())
            return
        framed_messages.send(writer, _READY)
        for job in jobs:
            used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
            _, hard = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (int(used + job.cpu_seconds) + 1, hard))
            try:
                verdict: Verdict = {"error": job.error} if job.error is not None else job.run()
            except MemoryError:
                return
            framed_messages.send(writer, json.dumps(verdict).encode())
    finally:
        os._exit(0)
