"""Run the command line in a separate process, as a user does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ENVIRONMENT = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "evomerge", *arguments]


def evomerge(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run ``python -m evomerge`` in ``folder`` and wait for it."""
    return subprocess.run(command(*arguments), cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, timeout=900)


def heed_interrupts() -> None:
    """For ``preexec_fn``: a shell starts its background jobs deaf to Ctrl-C, and their children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
