"""Describe parameters of merge methods: which values are valid, and which a search draws from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from evomerge.errors import UserError, nearest

PerExpert: TypeAlias = float | Sequence[float]
"""Annotates a parameter with one value per expert. A function gets T values, or one that stands for all."""

Value: TypeAlias = float | str | bool
"""A parameter's value: numbers have a :class:`Range`, texts a :class:`Choice`, switches a :class:`Flag`."""


@dataclass(frozen=True)
class Range:
    """Where a number is searched (``low`` to ``high``) and where it is valid at all.

    Args:
        low, high: the range a search draws from, both included.
        log: search on a logarithmic scale.
        above: valid values are greater than this.
        at_least: valid values are not smaller than this.
        at_most: valid values are not greater than this.
        searched: the search draws it; else it keeps its default unless a recipe says otherwise.
        whole: valid values, and so those that a search proposes, are whole numbers.
    """

    low: float
    high: float
    log: bool = False
    above: float = -math.inf
    at_least: float = -math.inf
    at_most: float = math.inf
    searched: bool = True
    whole: bool = False

    def __post_init__(self) -> None:
        assert not self.whole or (self.low == int(self.low) and self.high == int(self.high)), (
            "whole ranges have whole ends"
        )

    @property
    def valid(self) -> str:
        """The valid interval as text.

        >>> Range(0.05, 1.0, above=0.0, at_most=1.0).valid
        '(0, 1]'
        """
        opening = f"[{self.at_least:g}" if self.at_least > self.above else f"({self.above:g}"
        return f"{opening}, {self.at_most:g}{')' if math.isinf(self.at_most) else ']'}"

    @property
    def text(self) -> str:
        """The searched range as the table of methods shows it."""
        return f"{self.low:g}..{self.high:g}" if self.searched else self.valid

    def check(self, name: str, value: Any, where: str = "") -> float:
        """``value`` itself when it is valid, else a UserError; ``where`` names the file and key."""
        if isinstance(value, (bool, str)) or not (
            math.isfinite(value) and self.above < value <= self.at_most and value >= self.at_least
        ):
            got = f"{value:g}" if isinstance(value, float) else f"{value}"
            raise UserError(f"{name} must be in {self.valid}, got {got}{_at(where)}")
        if self.whole and value != int(value):
            raise UserError(f"{name} must be a whole number, got {value:g}{_at(where)}")
        return float(value)


@dataclass(frozen=True)
class Choice:
    """One of some texts; never searched."""

    values: tuple[str, ...]
    searched: bool = False

    @property
    def text(self) -> str:
        return "/".join(self.values)

    def check(self, name: str, value: Any, where: str = "") -> str:
        if value not in self.values:
            raise UserError(f"unknown {name} '{value}': {nearest(str(value), self.values)}{_at(where)}")
        return str(value)


@dataclass(frozen=True)
class Flag:
    """True or false; never searched."""

    searched: bool = False

    @property
    def text(self) -> str:
        return "true/false"

    def check(self, name: str, value: Any, where: str = "") -> bool:
        if not isinstance(value, bool):
            raise UserError(f"{name} must be true or false, got {value!r}{_at(where)}")
        return value


Domain: TypeAlias = Range | Choice | Flag


def per_expert(values: PerExpert, experts: int) -> list[float]:
    """One float per expert; a single value (or a tensor or sequence of length T) is accepted."""
    if isinstance(values, (int, float)):
        return [float(values)] * experts
    listed = [float(value) for value in values]
    assert len(listed) == experts, f"{len(listed)} values for {experts} experts"
    return listed


# Options that several methods share: one name, one meaning.
Density = Annotated[PerExpert, Range(0.05, 1.0, above=0.0, at_most=1.0)]
"""Fraction of a delta's entries that are kept, per expert."""

Average = Annotated[str, Choice(("count", "weight", "sum"))]
"""What the sum of the agreeing experts' weighted deltas is divided by: their number (the TIES paper's disjoint mean),
the sum of their weights (mergekit's ``normalize: true``), or nothing."""

Total = Annotated[str, Choice(("sum", "weight"))]
"""What a weighted sum of all experts' deltas is divided by: nothing, or the sum of the weights (by 1 where that is
below 1e-8; mergekit's ``normalize: true``)."""

Gamma = Annotated[PerExpert, Range(0.0, 0.1, at_least=0.0, at_most=1.0, searched=False)]
"""Fraction of a delta's entries, the largest, that are dropped as outliers, per expert."""

Epsilon = Annotated[PerExpert, Range(0.0, 0.3, at_least=0.0, at_most=1.0, searched=False)]
"""DELLA: an entry is kept with probability density - epsilon (smallest of its row) to density + epsilon (largest)."""

Rescale = Annotated[str, Choice(("none", "density", "l1"))]
"""How a sparsified delta is rescaled: not at all, by 1 / (probability to be kept) (DARE's and DELLA's papers), or to
the L1 norm that it had (mergekit's ``rescale: true``; left as it is where a norm is below 1e-7)."""

Scale = Annotated[float, Range(0.3, 2.0, searched=False)]
"""Factor on the merged delta (lambda in TIES and mergekit). Not searched: the weights can say the same."""


def _at(where: str) -> str:
    return f" ({where})" if where else ""
