"""The layers of the package hold: import-linter checks its contracts in pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_layers() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    root = Path(__file__).parents[1]
    result = subprocess.run([linter, "--no-cache"], cwd=root, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
