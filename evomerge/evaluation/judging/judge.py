"""Client of the judge: hand answers over while the model generates others, and keep the verdicts."""

from __future__ import annotations

import concurrent.futures
import hashlib
import json
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from evomerge.evaluation.judging.children import Metrics
from evomerge.evaluation.judging.judge_process import JudgeFailed, JudgeProcess
from evomerge.evaluation.judging.sandbox import SandboxSettings

__all__ = ["Judge", "JudgeFailed"]

# Answers that make a batch. Each batch costs a sandboxed child, 0.1 s of CPU: single answers would take that time from
# the model, which generates meanwhile.
_BATCH = 16
_CLOSE_SECONDS = 5.0  # that ``close`` waits for the running batch


class Judge:
    """Verdicts on answers, from a warm sandboxed process. A context manager; ``close`` ends the process, for good.

    The first use starts it (0.3 s). Verdicts are kept, so equal answers of several candidates are judged once. One
    thread of this object talks to the process while the caller generates: :meth:`begin` hands an answer over,
    :meth:`judge` waits for the verdicts that are still missing.

    Args:
        settings: limits, and whether a weak sandbox is acceptable.
    """

    def __init__(self, settings: SandboxSettings | None = None) -> None:
        self._process = JudgeProcess(settings or SandboxSettings())
        # A pool's thread lives as long as the judge. The process dies with the thread that started it.
        self._thread = ThreadPoolExecutor(1, "judge")
        self._sending: Future[None] | None = None
        self._lock = threading.Lock()  # guards what follows
        self._waiting: dict[str, tuple[str, str, str]] = {}  # key -> scorer, item, answer
        self._verdicts: dict[str, Metrics | None] = {}  # None: on its way
        self._failures: dict[str, Exception] = {}

    @property
    def level(self) -> str:
        """Isolation level in force, one of ``sandbox.LEVELS``.

        Raises:
            UserError: only a weak level is available and it was not asked for.
        """
        return self._thread.submit(self._process.level).result()

    def begin(self, scorer: str, answers: Sequence[tuple[str, str]]) -> None:
        """Start judging answers that :meth:`judge` will be asked about later; that call tries failed ones again."""
        with self._lock:
            for item, answer in answers:
                key = _key(scorer, item, answer)
                if key not in self._verdicts:
                    self._failures.pop(key, None)
                    self._verdicts[key] = None
                    self._waiting[key] = scorer, item, answer
            enough = len(self._waiting) >= _BATCH
        if enough and (self._sending is None or self._sending.done()):
            self._sending = self._thread.submit(self._send, _BATCH)

    def judge(self, scorer: str, answers: Sequence[tuple[str, str]]) -> list[Metrics]:
        """Metrics of answers, in order.

        Args:
            scorer: name of a scorer.
            answers: pairs of an item's JSON text (``Document.judged``) and the model's text.

        Raises:
            JudgeFailed: an item or the judge is at fault, never an answer.
            UserError: see :attr:`level`.
        """
        self.begin(scorer, answers)
        keys = [_key(scorer, item, answer) for item, answer in answers]
        if any(self._verdicts.get(key) is None for key in keys):
            self._thread.submit(self._send, 1).result()  # the thread finishes earlier batches first
        found = []
        for key in keys:
            if key in self._failures:
                raise self._failures[key]
            verdict = self._verdicts[key]
            assert verdict is not None
            found.append(dict(verdict))
        return found

    def close(self) -> None:
        """End the judge's process and its children; answers that still wait are dropped."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._sending is not None and concurrent.futures.wait([self._sending], _CLOSE_SECONDS).not_done:
            self._process.kill()
        self._thread.shutdown()
        self._process.stop()

    def __enter__(self) -> Judge:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, least: int) -> None:
        """In the thread: judge waiting answers in batches, while at least ``least`` wait."""
        while True:
            with self._lock:
                if len(self._waiting) < least:
                    return
                batch, self._waiting = self._waiting, {}
            for scorer in sorted({scorer for scorer, _, _ in batch.values()}):
                part = {key: (item, answer) for key, (own, item, answer) in batch.items() if own == scorer}
                try:
                    verdicts = self._ask(scorer, part)
                except Exception as error:  # fails the whole batch; :meth:`judge` raises it
                    verdicts = dict.fromkeys(part, error)
                with self._lock:
                    for key, verdict in verdicts.items():
                        if isinstance(verdict, Exception):
                            del self._verdicts[key]
                            self._failures[key] = verdict
                        else:
                            self._verdicts[key] = verdict

    def _ask(self, scorer: str, part: dict[str, tuple[str, str]]) -> dict[str, Metrics | Exception]:
        items = [[json.loads(item), answer] for item, answer in part.values()]
        verdicts: dict[str, Metrics | Exception] = {}
        for key, verdict in zip(part, self._process.ask({"scorer": scorer, "items": items}), strict=True):
            if "error" in verdict:
                reason = f"{scorer} item cannot be judged: {verdict['error']} ({part[key][0][:200]})"
                verdicts[key] = JudgeFailed(reason)
            else:
                verdicts[key] = verdict
        return verdicts


def _key(scorer: str, item: str, answer: str) -> str:
    return hashlib.sha256(f"{scorer}\0{item}\0{answer}".encode("utf-8", "surrogatepass")).hexdigest()
