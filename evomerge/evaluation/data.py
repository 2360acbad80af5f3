"""Data files of the tasks: JSONL rows become documents for lm-eval, cut into search, selection and test items.

A document holds only texts, because lm-eval keeps documents in a table whose columns have one type each:
``id``, ``split``, ``prompt``, ``gold`` (the gold answer's text) and ``item`` (JSON: what the judge needs).

Formats, one JSON object a line (``.jsonl`` or ``.jsonl.gz``); keys not named here are not read:

sql   ``question``, ``schema`` (shown to the model), ``sql`` (gold query) and the database: ``database`` (an SQL script
      with DDL and INSERTs, relative to the data file) or, as WikiSQL, ``ddl``, ``table`` and ``rows``.
json  ``instruction`` and ``schema`` (JSON Schema, draft 2020-12); ``instance`` is the gold value, if there is one.
code  as HumanEval: ``prompt``, ``entry_point``, ``test`` (defines ``check(candidate)``); ``canonical_solution`` is
      the gold.

``id`` (``task_id`` for code) names an item; without it the line number does.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evomerge.errors import UserError

SPLITS = ("search", "selection", "test")
_SHARES = (0.4, 0.2)  # of a user's file: search, selection; the rest is test


@dataclass(frozen=True)
class Document:
    """One item. ``group`` is what items of one database or schema share; it decides nothing but how halves are cut."""

    id: str
    group: str
    prompt: str
    gold: str
    item: str

    def row(self, split: str) -> dict[str, str]:
        """The row of lm-eval's table."""
        return {"id": self.id, "split": split, "prompt": self.prompt, "gold": self.gold, "item": self.item}


class _Row:
    """A line of a data file, for error texts. ``schemas``: the file's JSON Schemas already found good."""

    def __init__(self, path: Path, line: int, values: dict[str, Any], schemas: set[str]) -> None:
        self.path, self.line, self.values = path, line, values
        self.schemas = schemas

    def __getitem__(self, key: str) -> Any:
        if key not in self.values:
            self.fail(f"key '{key}' is missing (it has: {', '.join(self.values)})")
        return self.values[key]

    def text(self, key: str) -> str:
        value = self[key]
        if not isinstance(value, str):
            self.fail(f"'{key}' must be a text, got {type(value).__name__}")
        return str(value)

    def name(self, key: str) -> str:
        return str(self.values.get(key, f"line_{self.line}"))

    def fail(self, what: str) -> None:
        raise UserError(f"{self.path}:{self.line}: {what}")


def read_documents(kind: str, path: Path) -> list[Document]:
    """Documents of one data file.

    Args:
        kind: ``sql``, ``json`` or ``code``.

    Raises:
        UserError: no such file, or a row that is not as the format says; names file, line and key.
    """
    documents: list[Document] = []
    seen: dict[str, int] = {}
    for row in _rows(path):
        document = _READERS[kind](row)
        if document.id in seen:
            row.fail(f"id '{document.id}' is also on line {seen[document.id]}; ids must differ")
        seen[document.id] = row.line
        documents.append(document)
    if not documents:
        raise UserError(f"{path} has no rows: a data file needs one JSON object a line")
    return documents


def halves(documents: list[Document]) -> dict[str, list[Document]]:
    """Cut validation items into search and selection, alternating within each group, both of one size."""
    turn: dict[str, bool] = {}
    sizes = [0, 0]
    result: dict[str, list[Document]] = {"search": [], "selection": []}
    for document in documents:
        to_selection = turn.get(document.group, sizes[1] < sizes[0])
        turn[document.group] = not to_selection
        sizes[to_selection] += 1
        result[SPLITS[to_selection]].append(document)
    return result


def by_hash(documents: list[Document], path: Path) -> dict[str, list[Document]]:
    """Cut a user's file by the hash of the ids: 40 % search, 20 % selection, 40 % test, in the file's order."""
    if len(documents) < 5:
        raise UserError(f"{path} has {len(documents)} items, too few to cut into {', '.join(SPLITS)}: give at least 5")
    ranked = sorted(documents, key=lambda document: hashlib.sha256(document.id.encode()).digest())
    first = round(_SHARES[0] * len(ranked))
    second = first + round(_SHARES[1] * len(ranked))
    split_of = {d.id: SPLITS[(place >= first) + (place >= second)] for place, d in enumerate(ranked)}
    return {split: [d for d in documents if split_of[d.id] == split] for split in SPLITS}


def cut(kind: str, folder: Path, data: str | None) -> dict[str, list[Document]]:
    """Items per split: of the user's file ``data``, or of the task's own ``validation.jsonl`` and ``test.jsonl``."""
    if data is not None:
        path = Path(data).expanduser()
        return by_hash(read_documents(kind, path), path)
    validation = halves(read_documents(kind, folder / "validation.jsonl"))
    return {**validation, "test": read_documents(kind, folder / "test.jsonl")}


def _rows(path: Path) -> Iterator[_Row]:
    if not path.is_file():
        raise UserError(f"no data file {path}: give a .jsonl file, absolute or relative to the working directory")
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    schemas: set[str] = set()
    with opener(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"{path}:{number}: not JSON ({error}); a data file holds one JSON object a line"
                ) from None
            if not isinstance(values, dict):
                raise UserError(f"{path}:{number}: wanted a JSON object, got {type(values).__name__}")
            yield _Row(path, number, values, schemas)


def _read_sql(row: _Row) -> Document:
    database: dict[str, Any]
    if "database" in row.values:
        script = row.path.parent / row.text("database")
        if not script.is_file():
            row.fail(f"'database' names {script}, which is no file; wanted an SQL script relative to the data file")
        database = {"script": script.read_text(encoding="utf-8")}
    elif "ddl" in row.values:
        database = {"ddl": row.text("ddl"), "table": row.text("table"), "rows": row["rows"]}
    else:
        row.fail("key 'database' (an SQL script) is missing, and so are 'ddl', 'table' and 'rows'")
    item = {"sql": row.text("sql"), "database": database}
    prompt = f"{row.text('schema')}\n\nQuestion: {row.text('question')}\nSQL:"
    return Document(row.name("id"), row.text("schema"), prompt, " " + row.text("sql"), json.dumps(item))


def _read_json(row: _Row) -> Document:
    # Not at module top: the judge's format is needed only where JSON items are, and jsonschema takes 0.2 s to import.
    from evomerge.evaluation.json_schema import check_schema

    schema = row["schema"]
    key = json.dumps(schema, sort_keys=True)
    if key not in row.schemas:  # many items share one, and checking one takes 20 ms
        wrong = check_schema(schema)
        if wrong is not None:
            row.fail(f"'schema' is no JSON Schema: {wrong}")
        row.schemas.add(key)
    gold = " " + json.dumps(row.values["instance"], ensure_ascii=False) if "instance" in row.values else ""
    prompt = f"{row.text('instruction')}\n\nJSON:"
    return Document(row.name("id"), key, prompt, gold, json.dumps({"schema": schema}))


def _read_code(row: _Row) -> Document:
    # Without the final newline: tokenizers join it with the indentation, so the model writes it itself.
    prompt = row.text("prompt").rstrip()
    gold = str(row.values.get("canonical_solution", "")).rstrip()
    item = {"prompt": prompt, "test": row.text("test"), "entry_point": row.text("entry_point")}
    return Document(row.name("task_id"), "", prompt, f"\n{gold}" if gold else "", json.dumps(item))


_READERS: dict[str, Callable[[_Row], Document]] = {"sql": _read_sql, "json": _read_json, "code": _read_code}
