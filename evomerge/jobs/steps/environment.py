"""Describe versions and machine of a run, without names of people or machines."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from evomerge.cluster.machine import cores, processor, total_memory

PACKAGES = ("evomerge", "torch", "transformers", "peft", "optuna", "lm-eval", "ray", "numpy")


def environment() -> dict[str, Any]:
    """Versions, processor, cores and memory (GiB)."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": cores(),
        "memory_gib": round(total_memory() / 2**30, 1),
        "versions": {name: _version(name) for name in PACKAGES},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
