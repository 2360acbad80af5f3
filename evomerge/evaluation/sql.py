"""SQL answers: run on SQLite and compared with the gold query's rows (execution accuracy, arXiv:2010.02840).

Rows are compared as a multiset; their order counts when the gold query's outermost part has an ORDER BY; columns may
come in any order; numbers agree within a relative 1e-6. Standard library only: this runs in the judge.
"""

from __future__ import annotations

import itertools
import math
import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Cell = None | int | float | str | bytes
Rows = list[tuple[Cell, ...]]

MAX_ROWS = 10_000
_MAX_BYTES = 1 << 20
_RELATIVE = 1e-6
_MAX_ARRANGEMENTS = 1000
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
_FENCE = re.compile(r"```(?:sql|sqlite)?[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


class QueryFailed(Exception):
    """A query that did not run: wrong, forbidden, or beyond its limits."""


@dataclass(frozen=True)
class Result:
    columns: int
    rows: Rows


def build_database(description: dict[str, Any]) -> bytes:
    """A database from ``script`` (DDL and INSERTs), or WikiSQL-style from ``ddl``, ``table`` and ``rows``.

    Raises:
        sqlite3.Error: the description is wrong.
    """
    connection = sqlite3.connect(":memory:")
    try:
        if "script" in description:
            connection.executescript(description["script"])
        else:
            connection.execute(description["ddl"])
            rows = description["rows"]
            if rows:
                marks = ", ".join("?" * len(rows[0]))
                table = str(description["table"]).replace('"', '""')
                connection.executemany(f'INSERT INTO "{table}" VALUES ({marks})', rows)
        connection.commit()
        return connection.serialize()
    finally:
        connection.close()


def run_query(database: bytes, query: str, seconds: float) -> Result:
    """Rows of one SELECT on a private copy of ``database``.

    Args:
        seconds: CPU seconds until the query is interrupted. CPU and not wall time: a busy machine changes no verdict.

    Raises:
        QueryFailed: it did not run.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.deserialize(database)
        connection.execute("PRAGMA query_only = 1")
        connection.execute("PRAGMA trusted_schema = 0")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _MAX_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(_authorize)
        deadline = time.process_time() + seconds
        connection.set_progress_handler(lambda: time.process_time() > deadline, 1000)
        cursor = connection.execute(query)
        if cursor.description is None:
            raise QueryFailed("not a query")
        rows = cursor.fetchmany(MAX_ROWS + 1)
        if len(rows) > MAX_ROWS:
            raise QueryFailed(f"more than {MAX_ROWS} rows")
        return Result(len(cursor.description), rows)
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
        raise QueryFailed(str(error)) from None
    finally:
        connection.close()


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and second == "load_extension"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK


def extract_query(answer: str) -> str:
    """The query in a model's answer: a Markdown fence's inside if there is one, then the first statement, without ";".

    >>> extract_query(" SELECT 1; and so on")
    'SELECT 1'
    """
    if "```" in answer:
        found = _FENCE.search(answer)
        answer = found.group(1) if found else answer
    for position, character in enumerate(answer):
        # A semicolon inside a literal does not end a statement.
        if character == ";" and sqlite3.complete_statement(answer[: position + 1]):
            return answer[:position].strip()
    return answer.strip()


def is_ordered(query: str) -> bool:
    """Whether the outermost part of a query has an ORDER BY.

    >>> is_ordered("SELECT a FROM t ORDER BY a"), is_ordered("SELECT a FROM (SELECT a FROM t ORDER BY a)")
    (True, False)
    """
    bare = re.sub(
        r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^\]]*\]|--[^\n]*|/\*.*?\*/", " ", query, flags=re.DOTALL
    )
    outermost, depth = [], 0
    for character in bare:
        depth += character == "("
        if depth == 0:
            outermost.append(character)
        depth -= character == ")"
    return re.search(r"\border\s+by\b", "".join(outermost), re.IGNORECASE) is not None


def judge(answer: str, database: bytes, gold: Result, ordered: bool, seconds: float) -> dict[str, float]:
    """Metrics of one answer: ``sql_exec`` (right rows) and ``sql_valid`` (runs)."""
    try:
        result = run_query(database, extract_query(answer), seconds)
    except QueryFailed:
        return {"sql_exec": 0.0, "sql_valid": 0.0}
    return {"sql_exec": float(same_result(gold, result, ordered)), "sql_valid": 1.0}


def same_result(gold: Result, result: Result, ordered: bool) -> bool:
    """Whether two results agree, columns in any order. Empty results agree when they have equally many columns."""
    if gold.columns != result.columns or len(gold.rows) != len(result.rows):
        return False
    if not gold.rows or _same_rows(gold.rows, result.rows, ordered):
        return True
    # For each gold column the columns of the result that hold the same values, then every arrangement of those.
    theirs = [[(row[c],) for row in result.rows] for c in range(result.columns)]
    fitting = [
        [c for c, column in enumerate(theirs) if _same_rows([(row[g],) for row in gold.rows], column, ordered)]
        for g in range(gold.columns)
    ]
    for arrangement in itertools.islice(itertools.product(*fitting), _MAX_ARRANGEMENTS):
        if len(set(arrangement)) == gold.columns:
            rearranged = [tuple(row[c] for c in arrangement) for row in result.rows]
            if _same_rows(gold.rows, rearranged, ordered):
                return True
    return False


def _same_rows(gold: Sequence[tuple[Cell, ...]], rows: Sequence[tuple[Cell, ...]], ordered: bool) -> bool:
    if ordered:
        return all(map(_close_rows, gold, rows))
    if all(map(_close_rows, sorted(gold, key=_row_key), sorted(rows, key=_row_key))):
        return True
    # Nearly equal numbers can sort differently; then each gold row looks for its own partner.
    left = list(rows) if len(rows) <= 500 else []
    for row in gold:
        partner = next((i for i, other in enumerate(left) if _close_rows(row, other)), None)
        if partner is None:
            return False
        del left[partner]
    return True


def _close_rows(a: Sequence[Cell], b: Sequence[Cell]) -> bool:
    return all(map(_close, a, b))


def _close(a: Cell, b: Cell) -> bool:
    if isinstance(a, (int, float)) and isinstance(b, (int, float)):
        # Integers exactly: counts and keys of seven digits and more must not blur.
        return a == b if isinstance(a, int) and isinstance(b, int) else math.isclose(a, b, rel_tol=_RELATIVE)
    return type(a) is type(b) and a == b


def _row_key(row: Sequence[Cell]) -> tuple[tuple[int, Any], ...]:
    return tuple(
        (0, 0) if c is None else (1, c) if isinstance(c, (int, float)) else (2, c) if isinstance(c, str) else (3, c)
        for c in row
    )
