"""Write a benchmark's result to ``results/``, with time, machine and commit of the measurement."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def keep(name: str, result: Mapping[str, Any]) -> None:
    """Write ``results/NAME.json``."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True, check=True
    ).stdout.strip()
    about = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "machine": machine(), "commit": commit}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / f"{name}.json").write_text(json.dumps({**result, **about}, indent=2) + "\n")


def machine() -> str:
    """The processor's name and number of cores."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{name}, {os.cpu_count()} cores"
