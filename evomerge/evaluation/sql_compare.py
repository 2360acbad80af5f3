"""When two results of queries agree: four definitions, as pure functions on rows.

=========  ========================================  =============================  ==================================
mode       rows                                      columns                        values
=========  ========================================  =============================  ==================================
`bag`      multiset; in order if the gold's          any order; equally many, even  numbers within a relative 1e-6
           outermost part has an ORDER BY            of an empty result             (integers exactly)
`strict`   as bag                                    in the gold's order            same type, exactly equal
`spider`   multiset; in order if "order by" occurs   any order; two empty results   equal; 1 and 1.0 too
           anywhere in the gold; DISTINCT ignored    agree whatever their columns
`bird`     set: neither order nor repetition counts  in the gold's order            equal; 1 and 1.0 too
=========  ========================================  =============================  ==================================

`spider` gives the verdicts of the test-suite evaluation (arXiv:2010.02840), `bird` those of BIRD's execution accuracy
(arXiv:2305.03111). Standard library only: this runs in the judge.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evomerge.evaluation.sql_text import is_ordered, spider_form

Cell = None | int | float | str | bytes
Row = tuple[Cell, ...]

_RELATIVE = 1e-6
_MOST_PARTNERS = 500


@dataclass(frozen=True)
class Result:
    """What a query gave. ``columns`` is known for empty results too."""

    columns: int
    rows: list[Row]


@dataclass(frozen=True)
class Comparison:
    """A way to compare results.

    Attributes:
        agree: of (gold, result, ordered): whether they agree.
        ordered: of a gold query (in ``form``): whether the order of rows counts.
        form: what is run instead of a query, of gold and answer alike.
        text_errors: how text in a database that is no UTF-8 is decoded.
    """

    agree: Callable[[Result, Result, bool], bool]
    ordered: Callable[[str], bool]
    form: Callable[[str], str] = str
    text_errors: str = "surrogateescape"  # loses nothing


def bag(gold: Result, result: Result, ordered: bool) -> bool:
    """Multiset of rows, columns in any order, numbers with tolerance."""
    if gold.columns != result.columns or len(gold.rows) != len(result.rows):
        return False
    return not gold.rows or _agree_in_some_column_order(gold.rows, result.rows, lambda a, b: _close_rows(a, b, ordered))


def strict(gold: Result, result: Result, ordered: bool) -> bool:
    """Multiset of rows, columns as in the gold, values of the same type and equal."""
    if gold.columns != result.columns or len(gold.rows) != len(result.rows):
        return False
    typed = [[tuple((type(cell), cell) for cell in row) for row in side.rows] for side in (gold, result)]
    return typed[0] == typed[1] if ordered else Counter(typed[0]) == Counter(typed[1])


def spider(gold: Result, result: Result, ordered: bool) -> bool:
    """Multiset of rows, columns in any order, two empty results agree."""
    if not gold.rows and not result.rows:
        return True
    if gold.columns != result.columns or len(gold.rows) != len(result.rows):
        return False
    # The evaluation first compares rows with their cells sorted by text and type, and believes a difference: of rows
    # like (1, 1.05) and (1.05, 1.0) this is not implied by what follows.
    mine, theirs = ([_by_text(row) for row in side.rows] for side in (gold, result))
    if (mine != theirs) if ordered else (set(mine) != set(theirs)):
        return False
    same = _same_list if ordered else _same_bag
    return _agree_in_some_column_order(gold.rows, result.rows, same)


def bird(gold: Result, result: Result, ordered: bool) -> bool:
    """Set of rows, columns as in the gold."""
    return set(gold.rows) == set(result.rows)


#: Names that ``tasks.NAME.compare`` takes.
COMPARISONS = {
    "bag": Comparison(bag, is_ordered),
    "strict": Comparison(strict, is_ordered),
    "spider": Comparison(spider, lambda gold: "order by" in gold.lower(), spider_form, "ignore"),
    "bird": Comparison(bird, lambda gold: False),
}


def _agree_in_some_column_order(
    gold: Sequence[Row], rows: Sequence[Row], same: Callable[[Sequence[Row], Sequence[Row]], bool]
) -> bool:
    """Whether some arrangement of the columns of ``rows`` makes them the same as ``gold``. Neither is empty."""
    if same(gold, rows):
        return True
    width = len(gold[0])
    columns = list(zip(*rows, strict=True))

    def extend(chosen: tuple[int, ...]) -> bool:
        """Find the rest, given the result's columns that stand for the gold's first ones."""
        if len(chosen) == width:
            return True
        mine = [row[: len(chosen) + 1] for row in gold]
        tried: list[tuple[Cell, ...]] = []
        for column in range(width):
            # Equal columns are interchangeable: one of them stands for all.
            if column in chosen or columns[column] in tried:
                continue
            tried.append(columns[column])
            # The first columns alone must agree before the next one is tried: this keeps the search small.
            more = (*chosen, column)
            if same(mine, list(zip(*(columns[c] for c in more), strict=True))) and extend(more):
                return True
        return False

    return width > 1 and extend(())


def _same_list(gold: Sequence[Row], rows: Sequence[Row]) -> bool:
    return list(gold) == list(rows)


def _same_bag(gold: Sequence[Row], rows: Sequence[Row]) -> bool:
    return Counter(gold) == Counter(rows)


def _by_text(row: Row) -> Row:
    return tuple(sorted(row, key=lambda cell: str(cell) + str(type(cell))))


def _close_rows(gold: Sequence[Row], rows: Sequence[Row], ordered: bool) -> bool:
    if ordered:
        return all(map(_close_row, gold, rows))
    if all(map(_close_row, sorted(gold, key=_row_key), sorted(rows, key=_row_key))):
        return True
    # Nearly equal numbers can sort differently; then each gold row looks for its own partner.
    left = list(rows) if len(rows) <= _MOST_PARTNERS else []
    for row in gold:
        partner = next((i for i, other in enumerate(left) if _close_row(row, other)), None)
        if partner is None:
            return False
        del left[partner]
    return True


def _close_row(a: Row, b: Row) -> bool:
    return all(map(_close, a, b))


def _close(a: Cell, b: Cell) -> bool:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        # Integers exactly: counts and keys of seven digits and more must not blur.
        return a == b if isinstance(a, int) and isinstance(b, int) else math.isclose(a, b, rel_tol=_RELATIVE)
    return type(a) is type(b) and a == b


def _row_key(row: Row) -> tuple[tuple[int, Any], ...]:
    return tuple(
        (0, 0) if c is None else (1, c) if isinstance(c, (int, float)) else (2, c) if isinstance(c, str) else (3, c)
        for c in row
    )
