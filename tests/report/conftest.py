"""Fixture: a browser that opens pages."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser as driver
import pytest


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for the tests of a module; its profile does not outlive it."""
    if driver.CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        running = driver.Browser(Path(folder))
        try:
            yield running
        finally:
            running.close()
