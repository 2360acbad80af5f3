"""Show a progress bar of bytes written; without a terminal, print a line every 20 seconds."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

# Seconds between two lines without a terminal.
_EVERY = 20.0


@contextlib.contextmanager
def bytes_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A context that gives a function of the bytes written so far and of all bytes; any thread may call it.

    Args:
        what: what is going on, shown before the bar.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what)
        return
    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda written, total: bar.update(task, completed=written, total=total)


def _lines(what: str) -> Callable[[int, int], None]:
    started = shown = time.monotonic()

    def report(written: int, total: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if written and now - shown >= _EVERY:
            shown = now
            left = (now - started) / written * (total - written)
            print(f"{what}: {written / 1e9:.1f} of {total / 1e9:.1f} GB, about {left:.0f} s left", flush=True)

    return report
