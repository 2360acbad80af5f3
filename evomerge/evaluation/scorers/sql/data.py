"""Read rows of SQL tasks, and Spider's and BIRD's layouts.

Own form: ``question``, ``schema`` (shown to the model), ``sql`` (gold query, or a list of alternatives) and the
database: ``database`` (an SQL script with DDL and INSERTs or a SQLite file, relative to the data file; or a list of
them, instances on all of which an answer must be right) or, WikiSQL-style, ``ddl``, ``table`` and ``rows``.

WikiSQL's own form, whose queries are numbers: :mod:`evomerge.evaluation.scorers.sql.wikisql`.

Spider's and BIRD's form: ``db_id``, ``question``, ``query`` or ``SQL``, ``evidence`` (BIRD's hint). Beside the file lie
``database/ID/ID.sqlite`` (BIRD's development set: ``dev_databases``), where every further ``.sqlite`` of the folder is
an instance as in Spider's test suites, and ``tables.json`` (``dev_tables.json``), which gives the schema shown; without
it the database does.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from evomerge.errors import UserError, nearest
from evomerge.evaluation.documents import Document, Row, read_text
from evomerge.evaluation.scorers.sql import database_files, wikisql
from evomerge.evaluation.scorers.sql.wikisql import quoted

_DEVELOPMENT = ("dev.json", "dev.jsonl")
_TRAINING = ("train_spider.json", "train.json", "train.jsonl")
_DATABASES = ("database", "dev_databases", "databases", "train_databases")
_SQLITE = (".sqlite", ".db", ".sqlite3")


def read_sql(row: Row, compare: str) -> Document:
    """A document of one row, whose results are compared by ``compare``.

    Raises:
        UserError: the row is not as described above, or its database is missing.
    """
    hint = ""
    if "db_id" in row.values:
        golds = row.texts("query" if "query" in row.values else "SQL")
        folder = _database_folder(row)
        databases: list[dict[str, Any]] = [database_files.describe(path) for path in _instances(row, folder)]
        schema, name = _shown_schema(row, folder), row.name("question_id")
        if row.values.get("evidence"):
            hint = f"\nHint: {row.text('evidence')}"
    elif wikisql.is_wikisql(row):
        gold, schema, database = wikisql.read(row)
        golds, name, databases = [gold], row.name("id"), [database]
    else:
        golds, schema, name = row.texts("sql"), row.text("schema"), row.name("id")
        databases = _described(row)
    item = {"sql": golds, "databases": databases, "compare": compare}
    prompt = f"{schema}\n\nQuestion: {row.text('question')}{hint}\nSQL:"
    return Document(name, prompt, f" {golds[0]}", item, group=schema)


def layout(folder: Path) -> tuple[Path, Path | None] | None:
    """The files of development and training items of a folder in Spider's or BIRD's layout; None for another."""
    development = next((folder / name for name in _DEVELOPMENT if (folder / name).is_file()), None)
    training = next((folder / name for name in _TRAINING if (folder / name).is_file()), None)
    return None if development is None else (development, training)


def _described(row: Row) -> list[dict[str, Any]]:
    if "database" not in row.values:
        if "ddl" not in row.values:
            row.fail("key 'database' (an SQL script or SQLite file) is missing, and so are 'ddl', 'table' and 'rows'")
        return [{"ddl": row.text("ddl"), "table": row.text("table"), "rows": row["rows"]}]
    found: list[dict[str, Any]] = []
    for name in row.texts("database"):
        path = row.path.parent / name
        if not path.is_file():
            row.fail(
                f"'database' names {path}, which is no file; wanted an SQL script or SQLite file relative to the data"
            )
        if path.suffix in _SQLITE:
            found.append(database_files.describe(path))
        else:
            found.append({"script": read_text(path)})
    return found


def _database_folder(row: Row) -> Path:
    name = row.text("db_id")
    tried = [row.path.parent / folder / name for folder in _DATABASES]
    for folder in tried:
        if folder.is_dir():
            return folder
    siblings = [entry.name for folder in tried if folder.parent.is_dir() for entry in folder.parent.iterdir()]
    hint = f": {nearest(name, siblings)}" if siblings else f": wanted the folder {tried[0]}"
    row.fail(f"no database '{name}'{hint}")


def _instances(row: Row, folder: Path) -> list[Path]:
    key = f"instances {folder}"
    if key not in row.known:
        main = folder / f"{folder.name}.sqlite"
        if not main.is_file():
            row.fail(f"no database {main}")
        others = sorted(path for path in folder.iterdir() if path.suffix in _SQLITE and path != main)
        row.known[key] = [main, *others]
    instances: list[Path] = row.known[key]
    return instances


def _shown_schema(row: Row, folder: Path) -> str:
    if "tables" not in row.known:
        listed = [path for path in sorted(row.path.parent.glob("*tables.json")) if path.name != "test_tables.json"]
        row.known["tables"] = {entry["db_id"]: entry for path in listed for entry in json.loads(read_text(path))}
    key = f"schema {folder}"
    if key not in row.known:
        listed_schema = row.known["tables"].get(folder.name)
        try:
            shown = _from_tables(listed_schema) if listed_schema else _from_database(folder / f"{folder.name}.sqlite")
        except (KeyError, IndexError, TypeError) as error:
            row.fail(f"tables.json does not describe '{folder.name}' as Spider does: {error!r}")
        row.known[key] = shown
    return str(row.known[key])


def _from_tables(entry: dict[str, Any]) -> str:
    """CREATE TABLE lines from an entry of Spider's ``tables.json``."""
    columns, types = entry["column_names_original"], entry["column_types"]
    # BIRD lists the columns of a composite key together.
    keys = {column for key in entry["primary_keys"] for column in (key if isinstance(key, list) else [key])}
    references = {a: b for a, b in entry["foreign_keys"]}
    lines = []
    for number, table in enumerate(entry["table_names_original"]):
        parts = []
        for index, (owner, column) in enumerate(columns):
            if owner != number:
                continue
            part = f"{quoted(column)} {types[index].upper()}" + (" PRIMARY KEY" if index in keys else "")
            if index in references:
                target, name = columns[references[index]]
                part += f" REFERENCES {quoted(entry['table_names_original'][target])}({quoted(name)})"
            parts.append(part)
        lines.append(f"CREATE TABLE {quoted(table)} ({', '.join(parts)})")
    return "\n".join(lines)


def _from_database(path: Path) -> str:
    """The same lines from the database itself."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            names = connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
            )
            lines = []
            for (table,) in names.fetchall():
                columns = connection.execute("SELECT name, type, pk FROM pragma_table_info(?)", [table]).fetchall()
                parts = [f"{quoted(c)} {kind}".strip() + (" PRIMARY KEY" if key else "") for c, kind, key in columns]
                lines.append(f"CREATE TABLE {quoted(table)} ({', '.join(parts)})")
    except sqlite3.Error as error:
        raise UserError(f"cannot read the schema of {path}: {error}") from None
    return "\n".join(lines)
