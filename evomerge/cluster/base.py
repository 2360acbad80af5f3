"""Turn a worker's exception into a recorded failure; every pool does it here."""

from __future__ import annotations

import logging
import math
import time

from evomerge.errors import UserError
from evomerge.types import Done, Lesson, Work, Worker

log = logging.getLogger(__name__)


def attempt(worker: Worker, work: Work | Lesson) -> Done:
    """Have the worker do ``work``, with an exception turned into a ``Done`` with a one-line error.

    A task without items, and outcomes that are not numbers, are errors too: a sampler could not use their mean.
    """
    start = time.perf_counter()
    try:
        if isinstance(work, Lesson):
            return worker.learn(work)
        done = worker.evaluate(work)
        unscored = _unscored(work, done)
        return done if unscored is None else failed(work, unscored, done.seconds)
    except Exception as error:
        # a traceback does not help a user, who can only change settings
        trace = None if isinstance(error, UserError) else error
        log.error("evaluation %s failed: %s", work.key, describe(error), exc_info=trace)
        return failed(work, describe(error), time.perf_counter() - start)


def _unscored(work: Work, done: Done) -> str | None:
    if done.error is not None:
        return done.error
    if missing := [task for task in work.tasks if task not in {item.task for item in done.items}]:
        return f"no item of {', '.join(missing)} was scored"
    undefined = next((item for item in done.items if not math.isfinite(item.outcome)), None)
    return (
        None if undefined is None else f"the outcome of {undefined.task} item {undefined.item} is {undefined.outcome}"
    )


def failed(work: Work | Lesson, error: str, seconds: float) -> Done:
    """The ``Done`` of a work that has no scores."""
    return Done(work.key, (), seconds, error=error)


def describe(error: BaseException) -> str:
    """One line: the exception's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
