"""Errors and energies of an extraction, of each parameter and of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPORT = "extraction.json"


@dataclass(frozen=True)
class Part:
    """A changed parameter and its form in the adapter.

    Attributes:
        name: name of the parameter in the base.
        how: form in the adapter, ``lora``, ``full`` or ``left out``.
        rank: rank of the factors; 0 unless ``how`` is ``lora``.
        parameters: count of numbers stored for it.
        energy: squared Frobenius norm of its change.
        lost: squared Frobenius norm of the adapter's error, before its numbers are rounded to their dtype.
    """

    name: str
    how: str
    rank: int
    parameters: int
    energy: float
    lost: float


@dataclass(frozen=True)
class Extraction:
    """An extracted adapter: ``parameters`` counts its stored numbers, and ``parts`` lists every changed parameter.

    ``added`` counts vocabulary rows that the base and the adapter both lack; no error includes them.
    """

    folder: Path
    parts: tuple[Part, ...]
    parameters: int
    added: int = 0

    @property
    def rank(self) -> int:
        """The largest rank of all parts."""
        return max(part.rank for part in self.parts)

    @property
    def relative_error(self) -> float:
        return relative_error(self.parts)

    @property
    def kept(self) -> float:
        """Fraction of the change's energy in the adapter."""
        return 1.0 - self.relative_error**2

    @property
    def left_out(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts if part.how == "left out")


def relative_error(parts: Sequence[Part]) -> float:
    """Frobenius norm of the adapter's error over that of the whole change."""
    total = sum(part.energy for part in parts)
    return (sum(part.lost for part in parts) / total) ** 0.5 if total else 0.0


def report(done: Extraction, options: Mapping[str, Any]) -> dict[str, Any]:
    """Content of ``extraction.json``: the options, totals, and every changed parameter."""
    parts = {
        part.name: {
            "how": part.how,
            "rank": part.rank,
            "parameters": part.parameters,
            "energy": part.energy,
            "kept": 1.0 - part.lost / part.energy,
            "relative_error": (part.lost / part.energy) ** 0.5,
        }
        for part in done.parts
    }
    total = {
        "rank": done.rank,
        "parameters": done.parameters,
        "energy": sum(part.energy for part in done.parts),
        "kept": done.kept,
        "relative_error": done.relative_error,
        "added_rows_left_out": done.added,
    }
    return {"options": dict(options), "total": total, "parts": parts}
