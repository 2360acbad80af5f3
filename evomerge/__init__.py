"""evomerge searches for the best way to merge fine-tuned language models.

    from evomerge import Run
    run = Run("outputs/sql_code_json")
    run.front()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evomerge.analysis.run import Run

__all__ = ["Run", "__version__"]


def __getattr__(name: str) -> Any:
    """Late, so that ``import evomerge`` and ``--help`` load nothing heavy."""
    if name == "__version__":
        from importlib.metadata import version

        return version("evomerge")
    if name == "Run":
        from evomerge.analysis.run import Run

        return Run
    raise AttributeError(f"module 'evomerge' has no attribute {name!r}")
