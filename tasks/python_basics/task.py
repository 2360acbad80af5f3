"""What python_basics.yaml calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evomerge.evaluation import yaml_functions


def dataset(data: str | None = None, **_: Any) -> Any:
    """The items of this folder, or of the user's file ``data``."""
    return yaml_functions.dataset("code", Path(__file__).parent, data)


def process_results(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Metrics of one answer."""
    return yaml_functions.results("code", document, results[0])
