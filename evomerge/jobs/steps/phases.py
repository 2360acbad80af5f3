"""Measure the seconds of each phase of a run, over all its resumptions."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evomerge.errors import UserError
from evomerge.files.small_files import write_text
from evomerge.jobs.steps.environment import environment


class Phases:
    """Seconds spent in each phase, kept in ``environment.json`` and added up over resumed runs."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "environment.json"
        self._seconds: dict[str, float] = {}
        if self._file.is_file():
            self._seconds = json.loads(self._file.read_text()).get("seconds", {})
        self._write()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except BaseException:
            with suppress(OSError, UserError):  # the error that stopped the phase is the one to show
                self._add(phase, time.monotonic() - began)
            raise
        self._add(phase, time.monotonic() - began)

    def _add(self, phase: str, seconds: float) -> None:
        self._seconds[phase] = round(self._seconds.get(phase, 0.0) + seconds, 1)
        self._write()

    def _write(self) -> None:
        write_text(self._file, json.dumps({**environment(), "seconds": self._seconds}, indent=2))
