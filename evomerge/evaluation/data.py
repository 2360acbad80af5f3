"""Read the data files of judged tasks, and cut their documents into search, selection and test items.

``tasks.NAME.data`` names

- a file, one JSON object a line (``.jsonl``, ``.jsonl.gz``) or one list of objects (``.json``): cut 40/20/40;
- a folder with ``validation.jsonl`` (or ``dev.jsonl``, as WikiSQL's) and ``test.jsonl``: test items are the latter,
  the former is halved;
- a folder in a layout that the task's scorer knows (:meth:`evomerge.evaluation.scorers.base.Scorer.layout`), such as
  Spider's: test items are all of one file, the others come from a second file; without a second the one file is cut.

The scorer says what a row holds. ``id`` (``task_id``, ``question_id``) names an item; without it the line number does.
Keys that the scorer does not name are not read.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from evomerge.errors import UserError
from evomerge.evaluation.documents import Document, rows
from evomerge.evaluation.scorers.base import SCORERS
from evomerge.types import SPLITS

_SHARES = (0.4, 0.2)  # of a user's file: search, selection; the rest is test


def read_documents(scorer: str, path: Path, options: Any = None) -> list[Document]:
    """Documents of one data file.

    Args:
        scorer: name of the scorer that reads the rows.
        options: its ``Options``; None: the defaults.

    Raises:
        UserError: no such file, or a row that is not as the scorer says; names file, line and key.
    """
    reader = SCORERS[scorer]
    options = reader.Options() if options is None else options
    documents: list[Document] = []
    seen: dict[str, int] = {}
    for row in rows(path):
        document = reader.read(row, options)
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


def cut(scorer: str, folder: Path, data: str | None, options: Any = None) -> dict[str, list[Document]]:
    """Items per split: of the user's ``data``, or of the task's own ``folder``.

    Raises:
        UserError: a folder without the files that one needs, or whatever :func:`read_documents` raises.
    """
    path = folder if data is None else Path(data).expanduser()
    if not path.is_dir():
        return by_hash(read_documents(scorer, path, options), path)
    if (path / "test.jsonl").is_file():
        names = [name for name in ("validation.jsonl", "dev.jsonl") if (path / name).is_file()] or ["validation.jsonl"]
        validation = halves(read_documents(scorer, path / names[0], options))
        return {**validation, "test": read_documents(scorer, path / "test.jsonl", options)}
    found = SCORERS[scorer].layout(path)
    if found is None:
        others = SCORERS[scorer].other_folders
        wanted = "validation.jsonl and test.jsonl" + (f", or {others}" if others else "")
        raise UserError(f"{path} has no data for a {scorer} task: a folder needs {wanted}")
    development, training = found
    test = read_documents(scorer, development, options)
    if training is None:
        return by_hash(test, development)
    return {**halves(read_documents(scorer, training, options)), "test": test}
