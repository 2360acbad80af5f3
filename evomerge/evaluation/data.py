"""Data of the tasks: files and folders become documents for lm-eval, cut into search, selection and test items.

``tasks.NAME.data`` names

- a file, one JSON object a line (``.jsonl``, ``.jsonl.gz``) or one list of objects (``.json``): cut 40/20/40;
- a folder with ``validation.jsonl`` (or ``dev.jsonl``, as WikiSQL's) and ``test.jsonl``: test items are the latter,
  the former is halved;
- a folder in Spider's or BIRD's layout (:mod:`evomerge.evaluation.scorers.sql.data`): test items are all of
  ``dev.json``, the others come from the training file if there is one; else ``dev.json`` is cut.

Formats of rows: ``data`` of each folder in :mod:`evomerge.evaluation.scorers`. ``id``
(``task_id``, ``question_id``) names an item; without it the line number does. Keys not named there are not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from evomerge.errors import UserError
from evomerge.evaluation.documents import Document, ItemOptions, Row, rows
from evomerge.evaluation.scorers.code.data import read_code, read_program
from evomerge.evaluation.scorers.json.data import read_json
from evomerge.evaluation.scorers.sql.data import DEVELOPMENT, TRAINING, read_sql

SPLITS = ("search", "selection", "test")
_SHARES = (0.4, 0.2)  # of a user's file: search, selection; the rest is test
_READERS: dict[str, Callable[[Row, ItemOptions], Document]] = {
    "sql": read_sql,
    "json": read_json,
    "code": read_code,
    "program": read_program,
}


def read_documents(kind: str, path: Path, options: ItemOptions | None = None) -> list[Document]:
    """Documents of one data file.

    Args:
        kind: ``sql``, ``json``, ``code`` or ``program`` (code in MBPP's form).

    Raises:
        UserError: no such file, or a row that is not as the format says; names file, line and key.
    """
    documents: list[Document] = []
    seen: dict[str, int] = {}
    for row in rows(path):
        document = _READERS[kind](row, options or ItemOptions())
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


def cut(kind: str, folder: Path, data: str | None, options: ItemOptions | None = None) -> dict[str, list[Document]]:
    """Items per split: of the user's ``data``, or of the task's own ``folder``.

    Raises:
        UserError: a folder without the files that one needs, or whatever :func:`read_documents` raises.
    """
    path = folder if data is None else Path(data).expanduser()
    if not path.is_dir():
        return by_hash(read_documents(kind, path, options), path)
    if (path / "test.jsonl").is_file():
        names = [name for name in ("validation.jsonl", "dev.jsonl") if (path / name).is_file()] or ["validation.jsonl"]
        validation = halves(read_documents(kind, path / names[0], options))
        return {**validation, "test": read_documents(kind, path / "test.jsonl", options)}
    development = next((path / name for name in DEVELOPMENT if (path / name).is_file()), None)
    if kind != "sql" or development is None:
        wanted = "validation.jsonl and test.jsonl" + (", or Spider's or BIRD's dev.json" if kind == "sql" else "")
        raise UserError(f"{path} has no data for a {kind} task: a folder needs {wanted}")
    test = read_documents(kind, development, options)
    training = next((path / name for name in TRAINING if (path / name).is_file()), None)
    if training is None:
        return by_hash(test, development)
    return {**halves(read_documents(kind, training, options)), "test": test}
