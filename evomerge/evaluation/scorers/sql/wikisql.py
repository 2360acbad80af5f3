"""Read WikiSQL's files (arXiv:1709.00103), whose queries are numbers and whose tables lie in a second file.

``dev.jsonl`` holds ``{"question": ..., "table_id": ID, "sql": {"sel": 3, "agg": 0, "conds": [[0, 0, "x"]]}}`` and
``dev.tables.jsonl`` beside it ``{"id": ID, "header": [...], "types": ["text" or "real", ...], "rows": [...]}``.

The gold query is written out with the table's real column names, as a model must write it. What WikiSQL's scoring does
holds: letter case of texts is ignored (columns are ``COLLATE NOCASE``: of ASCII letters, and the gold spells a text as
the table does), values of ``real`` columns are read as numbers ("1,234" too). One difference, on purpose: of two
conditions on one column WikiSQL's engine uses the last value for both, here each keeps its own.
"""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from typing import Any

from evomerge.errors import UserError, nearest
from evomerge.evaluation.documents import Row, read_text

_AGGREGATES = ("", "MAX", "MIN", "COUNT", "SUM", "AVG")
_OPERATORS = ("=", ">", "<")
_NUMBER = re.compile(r"[-+]?(?:\d*\.\d+|\d+)")


def is_wikisql(row: Row) -> bool:
    """Whether the row's query is WikiSQL's numbers."""
    return isinstance(row.values.get("sql"), dict)


def read(row: Row) -> tuple[str, str, dict[str, Any]]:
    """Gold query, schema to show and database of one row.

    Raises:
        UserError: no such table, or a query that does not fit it.
    """
    table = _table(row)
    query = row["sql"]
    try:
        select = table.columns[_index(query["sel"], len(table.columns))]
        aggregate = _AGGREGATES[_index(query["agg"], len(_AGGREGATES))]
        conditions = [
            table.condition(_index(column, len(table.columns)), _OPERATORS[_index(operator, len(_OPERATORS))], value)
            for column, operator, value in query["conds"]
        ]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        row.fail(f"'sql' does not fit table '{row.text('table_id')}' of {len(table.columns)} columns: {error!r}")
    gold = f"SELECT {f'{aggregate}({select})' if aggregate else select} FROM {table.name}"
    if conditions:
        gold += f" WHERE {' AND '.join(conditions)}"
    return gold, table.schema, {"ddl": table.ddl, "table": table.name, "rows": table.rows}


class _Table:
    """A table for SQLite; ``columns`` are names as a query writes them."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self.name = f"table_{entry['id'].replace('-', '_')}"
        if not self.name.isidentifier():
            raise ValueError(f"a table cannot be called '{entry['id']}'")
        self.columns = [quoted(name) for name in _distinct(entry["header"])]
        self._types = [str(kind).upper() for kind in entry["types"]]
        self.rows = [
            [_cell(value, kind) for value, kind in zip(row, self._types, strict=True)] for row in entry["rows"]
        ]
        shown = [f"{name} {kind}" for name, kind in zip(self.columns, self._types, strict=True)]
        self.schema = f"CREATE TABLE {self.name} ({', '.join(shown)})"
        self.ddl = f"CREATE TABLE {self.name} ({', '.join(f'{column} COLLATE NOCASE' for column in shown)})"

    def condition(self, column: int, operator: str, value: Any) -> str:
        if self._types[column] == "REAL":
            return f"{self.columns[column]} {operator} {_number(value):.15g}"
        text = str(value)
        # NOCASE knows ASCII letters only, WikiSQL's lower() all: a cell that differs in others gives its spelling.
        cells = (str(row[column]) for row in self.rows)
        text = next((cell for cell in cells if cell.lower() == text.lower()), text)
        return f"{self.columns[column]} {operator} '{text.replace(chr(39), 2 * chr(39))}'"


def _table(row: Row) -> _Table:
    if "wikisql" not in row.known:
        stem = re.sub(r"(\.jsonl?)?(\.gz)?$", "", row.path.name)
        candidates = [row.path.with_name(f"{stem}.tables.jsonl{end}") for end in ("", ".gz")]
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            row.fail(f"WikiSQL's rows need their tables: no file {candidates[0]}")
        lines = read_text(path).split("\n")
        try:
            entries = [json.loads(line) for line in lines if line.strip()]
            row.known["wikisql"] = path, {entry["id"]: entry for entry in entries}
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(f"{path} does not hold one table a line as WikiSQL's files do: {error!r}") from None
    path, tables = row.known["wikisql"]
    name = row.text("table_id")
    if name not in tables:
        row.fail(f"no table '{name}' in {path.name}: {nearest(name, tables)}")
    if not isinstance(tables[name], _Table):
        try:
            tables[name] = _Table(tables[name])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(f"{path}: table '{name}' needs header, types and rows of one width: {error!r}") from None
    found: _Table = tables[name]
    return found


def _distinct(header: list[str]) -> list[str]:
    """Column names that SQLite can tell apart: it ignores case, and none is empty."""
    names: list[str] = []
    for place, name in enumerate(header, 1):
        name = str(name).strip() or f"column {place}"
        base, count = name, 1
        while name.lower() in {known.lower() for known in names}:
            count += 1
            name = f"{base} {count}"
        names.append(name)
    return names


def _cell(value: Any, kind: str) -> Any:
    if kind != "REAL" or not isinstance(value, str):
        return value
    try:
        return float(value.replace(",", ""))
    except ValueError:
        return value


def _number(value: Any) -> float:
    if isinstance(value, (int, float)):
        return value
    try:
        return float(value.replace(",", ""))
    except ValueError:
        return float(_NUMBER.findall(value)[0])


def _index(value: Any, length: int) -> int:
    """A place in a list; unlike Python's own, never counted from the end."""
    if type(value) is not int or not 0 <= value < length:
        raise IndexError(f"{value!r} is not in 0 ... {length - 1}")
    return value


def quoted(name: str) -> str:
    """A column's or table's name as a query must write it: in quotes if SQLite would read it as anything else.

    >>> quoted("age"), quoted("Order"), quoted("No."), quoted("current_date")
    ('age', '"Order"', '"No."', '"current_date"')
    """
    if name.isascii() and name.isidentifier():
        with closing(sqlite3.connect(":memory:")) as connection:
            try:
                connection.execute(f"CREATE TABLE {name} ({name})")
                connection.execute(f"INSERT INTO {name} VALUES (7)")
                if connection.execute(f"SELECT {name} FROM {name} WHERE {name} = 7").fetchall() == [(7,)]:
                    return name
            except sqlite3.Error:
                pass
    return '"{}"'.format(name.replace('"', '""'))
