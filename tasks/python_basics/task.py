"""What python_basics.yaml calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evomerge.evaluation import lm_eval_functions


def dataset(**metadata: Any) -> Any:
    """The items of this folder, or of the user's ``data``."""
    return lm_eval_functions.dataset("code", Path(__file__).parent, metadata)


def process_results(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Metrics of one answer."""
    return lm_eval_functions.results("code", document, results[0])
