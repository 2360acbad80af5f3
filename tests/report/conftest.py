"""Run folders to read: a finished search and an interrupted one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def fabricate() -> ModuleType:
    """The module beside this file; tests/ is no package."""
    spec = importlib.util.spec_from_file_location("report_fabricate", Path(__file__).with_name("fabricate.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def finished(fabricate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tests may write the report into it, nothing else."""
    return Path(fabricate.fabricate(tmp_path_factory.mktemp("runs") / "finished", budget=20))


@pytest.fixture(scope="session")
def interrupted(fabricate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(fabricate.fabricate(tmp_path_factory.mktemp("runs") / "interrupted", budget=5, finished=False))
