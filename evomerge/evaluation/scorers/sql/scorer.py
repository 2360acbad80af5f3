"""Score SQL answers: queries whose rows agree with the gold query's (execution accuracy)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from evomerge.evaluation.documents import Document, Row
from evomerge.evaluation.scorers.base import Item, Prepared, Scorer, Workbench, scorer
from evomerge.evaluation.scorers.sql import data, queries
from evomerge.evaluation.scorers.sql.database_files import read_database


@scorer(metrics=("sql_exec", "sql_valid"))
class SQL(Scorer):
    """``sql_exec``: right rows on every database; ``sql_valid``: runs on every database."""

    example: ClassVar[Mapping[str, Any]] = {
        "question": "Who is older than 40?",
        "schema": "CREATE TABLE people (name TEXT, age INTEGER)",
        "sql": "SELECT name FROM people WHERE age > 40",
        "ddl": "CREATE TABLE people (name TEXT, age INTEGER)",
        "table": "people",
        "rows": [["Ada", 36], ["Bob", 41]],
    }
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"
    other_folders = "Spider's or BIRD's dev.json"

    @dataclass(frozen=True)
    class Options:
        """``compare``: when results agree (:mod:`evomerge.evaluation.scorers.sql.compare_rows`)."""

        compare: Literal["bag", "strict", "spider", "bird"] = "bag"

    def read(self, row: Row, options: Options) -> Document:
        return data.read_sql(row, options.compare)

    def layout(self, folder: Path) -> tuple[Path, Path | None] | None:
        return data.layout(folder)

    def files(self, item: Item) -> Mapping[str, Path]:
        return {found["stamp"]: Path(found["file"]) for found in item.get("databases", ()) if "file" in found}

    def read_file(self, path: Path) -> bytes:
        return read_database(path)

    def prepare(self, item: Item, bench: Workbench) -> Prepared:
        judging: queries.Judging = bench.kept.setdefault("judging", queries.Judging(bench.files))
        prepared = judging.prepare(item, bench.walls.settings.sql_seconds)
        # The child's own limit is above the query's, for what SQLite cannot interrupt. Its memory holds the databases
        # already, and a query copies one.
        return Prepared(prepared, prepared.longest + 1, 2 * judging.nbytes)

    def judge(self, item: queries.Prepared, answer: str) -> dict[str, float]:
        return queries.judge(item, answer)
