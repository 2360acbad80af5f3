"""Decide whether two results of queries agree: four definitions, as pure functions on rows.

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

import bisect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from evomerge.evaluation.scorers.sql.query_text import is_ordered, spider_form

Cell = None | int | float | str | bytes
Row = tuple[Cell, ...]
Column = tuple[Cell, ...]

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
    if not gold.rows or (gold.rows == result.rows if ordered else Counter(gold.rows) == Counter(result.rows)):
        return True
    numbers = _groups_of_close(cell for side in (gold, result) for row in side.rows for cell in row)
    mine, theirs = ([_coded(column, numbers) for column in _columns(side)] for side in (gold, result))
    exact = len(set(numbers.values())) == len(numbers)
    for order in _column_orders(mine, theirs, ordered):
        rows = [tuple(row[column] for column in order) for row in result.rows]
        if exact or (all(map(_close_row, gold.rows, rows)) if ordered else _close_rows(gold.rows, rows, numbers)):
            return True
    return False


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
    return any(True for _ in _column_orders(_columns(gold), _columns(result), ordered))


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


def _columns(result: Result) -> list[Column]:
    return list(zip(*result.rows, strict=True))


def _column_orders(gold: Sequence[Column], columns: Sequence[Column], ordered: bool) -> Iterator[tuple[int, ...]]:
    """Every order of ``columns`` that makes the rows equal the gold's, as lists or multisets. Of equal columns
    only one is tried. Row prefixes that agree so far have one number, so a column is compared by pairs (prefix number,
    cell), in time that does not grow with the prefix's length."""
    sign = hash if ordered else lambda column: hash(frozenset(Counter(column).items()))
    signs = [sign(column) for column in columns]
    partners = [[n for n, other in enumerate(signs) if other == sign(column)] for column in gold]
    # Those that can be few and tell many rows apart come first.
    places = sorted(range(len(gold)), key=lambda place: (len(partners[place]), -len(set(gold[place]))))

    def extend(chosen: dict[int, int], mine: Sequence[int], theirs: Sequence[int]) -> Iterator[tuple[int, ...]]:
        if len(chosen) == len(places):
            yield tuple(chosen[place] for place in range(len(places)))
            return
        place = places[len(chosen)]
        tried: list[Column] = []
        for number in partners[place]:
            column = columns[number]
            if number in chosen.values() or column in tried:
                continue
            tried.append(column)
            pairs, others = list(zip(mine, gold[place], strict=True)), list(zip(theirs, column, strict=True))
            if (pairs == others) if ordered else (Counter(pairs) == Counter(others)):
                numbers = {pair: n for n, pair in enumerate(set(pairs))}
                yield from extend(
                    {**chosen, place: number}, [numbers[pair] for pair in pairs], [numbers[pair] for pair in others]
                )

    start = [0] * len(gold[0])
    return extend({}, start, start)


def _by_text(row: Row) -> Row:
    return tuple(sorted(row, key=lambda cell: str(cell) + str(type(cell))))


def _groups_of_close(cells: Iterable[Cell]) -> dict[float, int]:
    """Numbers by group: two that are close are in one, so rows of different groups need not be compared."""
    floats, integers = set(), set()
    for cell in cells:
        if type(cell) is float:
            floats.add(cell)
        elif type(cell) is int:
            integers.add(cell)
    ascending = sorted(floats)

    def alone(integer: int) -> bool:
        place = bisect.bisect(ascending, integer)
        return not any(_close(integer, neighbour) for neighbour in ascending[max(place - 1, 0) : place + 1])

    # Integers are close to floats only: without one nearby they make no chain.
    apart = {integer for integer in integers if alone(integer)}
    chain, last = 0, math.nan
    groups: dict[float, int] = {}
    for number in sorted(floats | (integers - apart)):
        chain += not math.isclose(last, number, rel_tol=_RELATIVE)
        groups[number], last = chain, number
    return groups | {integer: -1 - n for n, integer in enumerate(apart)}


def _coded(column: Column, numbers: dict[float, int]) -> Column:
    return tuple(numbers[cell] if isinstance(cell, (int, float)) else cell for cell in column)


def _close_rows(gold: Sequence[Row], rows: Sequence[Row], numbers: dict[float, int]) -> bool:
    """Whether each row has a close partner of its own, for rows that are equal as far as their numbers' groups tell."""
    groups: dict[Row, tuple[list[Row], list[Row]]] = {}
    for side, part in enumerate((gold, rows)):
        for row in part:
            groups.setdefault(_coded(row, numbers), ([], []))[side].append(row)
    return all(_close_group(mine, theirs) for mine, theirs in groups.values())


def _close_group(gold: list[Row], rows: list[Row]) -> bool:
    if len(gold) == 1:
        return _close_row(gold[0], rows[0])
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
