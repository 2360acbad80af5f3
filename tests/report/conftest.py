"""Run folders to read: a finished search and an interrupted one; a browser to look at pages with."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def _beside(name: str) -> ModuleType:
    """A module of this folder; tests/ is no package."""
    spec = importlib.util.spec_from_file_location(f"report_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def fabricate() -> ModuleType:
    return _beside("fabricate")


@pytest.fixture(scope="session")
def finished(fabricate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests may write the report into it, nothing else."""
    return Path(fabricate.fabricate(tmp_path_factory.mktemp("runs") / "finished", budget=20))


@pytest.fixture(scope="session")
def interrupted(fabricate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(fabricate.fabricate(tmp_path_factory.mktemp("runs") / "interrupted", budget=5, finished=False))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for the tests of a module; its profile does not outlive it."""
    driver = _beside("browser")
    if driver.CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        running = driver.Browser(Path(folder))
        try:
            yield running
        finally:
            running.close()
