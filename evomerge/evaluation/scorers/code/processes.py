"""Judge code answers: a process runs the model's program, another runs the tests on it.

answer    a child of the zygote behind the sandbox's walls: runs the model's program.
examiner  a child of the judge's process per answer, unprivileged, too: runs the tests and calls the answer through a
          socket.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from evomerge.evaluation.judging.children import MAX_ATTEMPTS, NOT_STARTED, Verdict
from evomerge.evaluation.judging.sandbox.assembly import Walls
from evomerge.evaluation.judging.zygote import Zygote
from evomerge.evaluation.scorers.base import TRUSTED, Item
from evomerge.evaluation.scorers.code import run_tests

_ISOLATED, _TOGETHER = (
    f"{body.__module__}:{body.__name__}" for body in (run_tests.answer_calls, run_tests.run_together)
)


@dataclass(frozen=True)
class _Running:
    """An answer being examined: its index, which attempt this is, the examiner's pid, the answer's number."""

    index: int
    attempt: int
    examiner: int
    number: int
    deadline: float


def judge_code(zygote: Zygote, walls: Walls, items: Sequence[tuple[Item, str]]) -> list[Verdict]:
    """Verdicts on pairs of item and answer; several run at once."""
    settings = walls.settings
    verdicts = [b""] * len(items)
    waiting = [(index, 1) for index in reversed(range(len(items)))]
    running: dict[int, _Running] = {}
    started: set[int] = set()
    poll = select.poll()
    while waiting or running:
        while waiting and len(running) < settings.parallel:
            index, attempt = waiting.pop()
            number, connection = zygote.start(_TOGETHER if run_tests.runs_together(items[index][0]) else _ISOLATED)
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
    return [_verdict(said, item) for said, (item, _) in zip(verdicts, items, strict=True)]


def _verdict(said: bytes, item: Item) -> Verdict:
    if said == run_tests.NOT_STARTED:
        return {"error": NOT_STARTED}
    passed = {"pass@1": float(said == run_tests.PASSED)}
    return passed | {TRUSTED: 1.0} if run_tests.runs_together(item) else passed


def _examine(connection: socket.socket, writer: int, item: Item, answer: str, walls: Walls) -> None:
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
