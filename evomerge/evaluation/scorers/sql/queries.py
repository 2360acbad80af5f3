"""Run SQL answers on SQLite, and compare their rows with the gold query's (execution accuracy).

An item, as plain JSON: ``{"sql": [gold, alternative, ...], "databases": [database, ...], "compare": "bag"}``. An answer
is right if it agrees with one of the golds on every database. A database is ``{"script": DDL and INSERTs}``,
``{"ddl": ..., "table": ..., "rows": [...]}`` or ``{"file": path, "stamp": ...}``, whose bytes come by the stamp.

Databases live in memory, each query on a private copy: stricter than a file opened read-only and immutable, because
there is no file to write to and none to open. Standard library only: this runs in the judge.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evomerge.evaluation.scorers.base import BadItem
from evomerge.evaluation.scorers.sql.compare_rows import COMPARISONS, Result
from evomerge.evaluation.scorers.sql.query_text import extract_query

MAX_ROWS = 100_000
_MAX_CELL = 1 << 20  # bytes of one text or blob, and of a query
_MAX_RESULT = 128 << 20  # bytes of all texts and blobs of a result
_GOLD_SECONDS = 60.0
_SLOWER_THAN_GOLD = 4  # a query may take this many times the gold's time
_CELL_SECONDS = 5e-5  # of a comparison, on a slow machine
_ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


class QueryFailed(Exception):
    """A query that did not run: wrong, forbidden, or beyond its limits."""


@dataclass(frozen=True)
class Prepared:
    """An item ready to judge answers.

    Attributes:
        compare: name of a comparison.
        databases: serialized.
        golds: per gold query, per database: its result.
        ordered: per gold query: whether the order of rows counts.
        seconds: CPU seconds that an answer may take on all databases together.
    """

    compare: str
    databases: tuple[bytes, ...]
    golds: tuple[tuple[Result, ...], ...]
    ordered: tuple[bool, ...]
    seconds: float

    @property
    def longest(self) -> float:
        """CPU seconds that judging an answer may take: ``seconds``, and the comparisons."""
        cells = sum(result.columns * len(result.rows) for row in self.golds for result in row)
        return self.seconds + _CELL_SECONDS * cells


class Judging:
    """Databases and gold results, built once per process. Runs trusted queries only.

    Args:
        files: bytes of the database files that items name, by stamp.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._built: dict[str, bytes] = {}
        self._golds: dict[tuple[str, str, str], tuple[Result, float]] = {}

    @property
    def nbytes(self) -> int:
        """Bytes of all databases."""
        return sum(map(len, (*self._files.values(), *self._built.values())))

    def prepare(self, item: Mapping[str, Any], seconds: float) -> Prepared:
        """Build the item's databases and run its golds, unless known already.

        Args:
            seconds: CPU seconds that an answer may take; more if the slowest gold needs more.

        Raises:
            BadItem: the item is wrong.
        """
        keys = [description.get("stamp") or json.dumps(description) for description in item["databases"]]
        try:
            databases = [self._database(key, one) for key, one in zip(keys, item["databases"], strict=True)]
            pairs = list(zip(keys, databases, strict=True))
            found = [[self._gold(*pair, query, item["compare"]) for pair in pairs] for query in item["sql"]]
        except (sqlite3.Error, sqlite3.Warning, QueryFailed, KeyError) as error:
            raise BadItem(f"its database or gold query is wrong: {error}") from None
        comparison = COMPARISONS[item["compare"]]
        slowest = max(sum(seconds for _, seconds in row) for row in found)
        return Prepared(
            compare=item["compare"],
            databases=tuple(databases),
            golds=tuple(tuple(result for result, _ in row) for row in found),
            ordered=tuple(comparison.ordered(comparison.form(extract_query(query))) for query in item["sql"]),
            seconds=max(seconds, _SLOWER_THAN_GOLD * slowest),
        )

    def _database(self, key: str, description: dict[str, Any]) -> bytes:
        if "stamp" in description:
            return self._files[key]
        if key not in self._built:
            self._built[key] = build_database(description)
        return self._built[key]

    def _gold(self, key: str, database: bytes, query: str, compare: str) -> tuple[Result, float]:
        if (key, query, compare) not in self._golds:
            comparison = COMPARISONS[compare]
            start = time.process_time()
            result = run_query(database, comparison.form(extract_query(query)), _GOLD_SECONDS, comparison.text_errors)
            self._golds[key, query, compare] = result, time.process_time() - start
        return self._golds[key, query, compare]


def judge(prepared: Prepared, answer: str) -> dict[str, float]:
    """Metrics of one answer: ``sql_exec`` (right rows everywhere) and ``sql_valid`` (runs everywhere)."""
    comparison = COMPARISONS[prepared.compare]
    query = comparison.form(extract_query(answer))
    left = prepared.seconds
    results = []
    for database in prepared.databases:
        start = time.process_time()
        try:
            results.append(run_query(database, query, left, comparison.text_errors))
        except QueryFailed:
            return {"sql_exec": 0.0, "sql_valid": 0.0}
        left -= time.process_time() - start
    right = any(
        all(comparison.agree(gold, result, ordered) for gold, result in zip(golds, results, strict=True))
        for golds, ordered in zip(prepared.golds, prepared.ordered, strict=True)
    )
    return {"sql_exec": float(right), "sql_valid": 1.0}


def build_database(description: dict[str, Any]) -> bytes:
    """A database from ``script`` (DDL and INSERTs), or WikiSQL-style from ``ddl``, ``table`` and ``rows``.

    Raises:
        sqlite3.Error, KeyError: the description is wrong.
    """
    connection = sqlite3.connect(":memory:")
    try:
        connection.execute("PRAGMA user_version = 0")  # writes the first page: SQLite cannot serialize nothing
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


def run_query(database: bytes, query: str, seconds: float, text_errors: str = "surrogateescape") -> Result:
    """Rows of one SELECT on a private copy of ``database``.

    Args:
        seconds: CPU seconds until the query is interrupted. CPU and not wall time: a busy machine changes no verdict.
        text_errors: how text that is no UTF-8 is decoded.

    Raises:
        QueryFailed: it did not run.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.deserialize(database)
        connection.text_factory = lambda raw: raw.decode("utf-8", text_errors)
        connection.execute("PRAGMA query_only = 1")
        connection.execute("PRAGMA trusted_schema = 0")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_CELL)
        connection.setlimit(sqlite3.SQLITE_LIMIT_SQL_LENGTH, _MAX_CELL)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.set_authorizer(_authorize)
        deadline = time.process_time() + seconds
        connection.set_progress_handler(lambda: time.process_time() > deadline, 1000)
        # Refuses a second statement.
        cursor = connection.execute(query)
        if cursor.description is None:
            raise QueryFailed("not a query")
        return Result(len(cursor.description), _fetch(cursor))
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
        raise QueryFailed(str(error)) from None
    finally:
        connection.close()


def _fetch(cursor: sqlite3.Cursor) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    size = 0
    while more := cursor.fetchmany(1000):
        rows += more
        size += sum(len(cell) for row in more for cell in row if isinstance(cell, (str, bytes)))
        if len(rows) > MAX_ROWS:
            raise QueryFailed(f"more than {MAX_ROWS} rows")
        if size > _MAX_RESULT:
            raise QueryFailed(f"more than {_MAX_RESULT} bytes")
    return rows


def _authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    if action not in _ALLOWED or (action == sqlite3.SQLITE_FUNCTION and second == "load_extension"):
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK
