"""What every pool shares: how a worker's failure becomes a recorded failure, and how many workers fit."""

from __future__ import annotations

import logging
import math
import os
import time

from evomerge.types import Done, Work, Worker

log = logging.getLogger(__name__)


def attempt(worker: Worker, work: Work) -> Done:
    """``worker.evaluate(work)``; an exception becomes a ``Done`` with a one-line error, here alone.

    So do outcomes that are no numbers: a mean over them could be neither compared nor told to a sampler.
    """
    start = time.perf_counter()
    try:
        done = worker.evaluate(work)
        for item in done.items:
            if not math.isfinite(item.outcome):
                return failed(work, f"the outcome of {item.task} item {item.item} is {item.outcome}", done.seconds)
        return done
    except Exception as error:
        log.exception("evaluation %s failed", work.key)
        return failed(work, describe(error), time.perf_counter() - start)


def failed(work: Work, error: str, seconds: float) -> Done:
    """A ``Done`` that says why ``work`` has no scores."""
    return Done(work.key, (), seconds, error=error)


def describe(error: BaseException) -> str:
    """One line: the exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def available_cores() -> int:
    """Cores this process may run on (affinity respected)."""
    return len(os.sched_getaffinity(0))
