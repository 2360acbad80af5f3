"""Serial pool: one worker in this process, for tests, debugging and machines without Ray."""

from __future__ import annotations

from collections import deque

from evomerge.cluster.base import attempt
from evomerge.types import Done, Lesson, Work, Worker


class SerialPool:
    """Evaluates in the order of submission, inside :meth:`wait`."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._queue: deque[Work | Lesson] = deque()

    @property
    def size(self) -> int:
        return 1

    def submit(self, work: Work | Lesson) -> None:
        self._queue.append(work)

    def wait(self, timeout: float | None = None) -> list[Done]:
        """Evaluate one work to its end, however long it takes; [] when nothing is queued or ``timeout`` is 0."""
        if not self._queue or timeout == 0:
            return []
        return [attempt(self._worker, self._queue.popleft())]

    def close(self) -> None:
        self._queue.clear()
