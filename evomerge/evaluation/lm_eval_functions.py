"""Functions that the YAML files of judged tasks name by ``!function``: items, and scoring for the ``lm_eval`` command.

lm-eval passes :func:`dataset` the YAML's ``metadata``, so ``lm_eval --metadata '{"data": "FILE.jsonl"}'`` works as
``tasks.sql.data=FILE.jsonl`` does, and so do the options of the task's scorer. In ``metadata`` a YAML file has

``scorer``  name of the scorer that reads the items and judges the answers
``file``    ``MODULE:ATTRIBUTE`` of an installed package, the path of a data file; all its items are test items. Without
            it the items lie beside the YAML file, or come from the user's data
"""

from __future__ import annotations

import atexit
import pkgutil
from pathlib import Path
from typing import Any

import datasets

from evomerge.errors import UserError
from evomerge.evaluation.data import by_hash, cut, read_documents
from evomerge.evaluation.documents import Document
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.scorers.base import SCORERS
from evomerge.evaluation.task_settings import options_of


def dataset(**metadata: Any) -> dict[str, datasets.Dataset]:
    """lm-eval's splits ``validation`` (search and selection items) and ``test``.

    Raises:
        UserError: a task without items, or data that is not as the scorer wants it.
    """
    name, data = metadata["scorer"], metadata.get("data")
    options = options_of(SCORERS[name], metadata)
    folder = Path(metadata["config_source"]).parent  # lm-eval says where the YAML file lies
    if "file" in metadata:
        path = Path(data).expanduser() if data is not None else Path(pkgutil.resolve_name(metadata["file"]))
        documents = read_documents(name, path, options)
        return _tables(by_hash(documents, path) if data is not None else {"test": documents}, name)
    if data is None and not (folder / "test.jsonl").is_file():
        raise UserError(f"task {folder.name} brings no items: give a file by tasks.{folder.name}.data=FILE")
    return _tables(cut(name, folder, data, options), name)


def process_results(document: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Metrics of one answer, by the judge in use."""
    (verdict,) = _judge().judge(document["scorer"], [(document["item"], results[0])])
    return {name: value for name, value in verdict.items() if name in SCORERS[document["scorer"]].metrics}


# lm-eval calls process_results with document and answers alone: the judge that it asks can only be found in a module
# variable. Tasks that evomerge itself scores do not come here.
_in_use: Judge | None = None


def use(judge: Judge | None) -> None:
    """Make ``judge`` the one that :func:`process_results` asks in this process."""
    global _in_use
    _in_use = judge


def _judge() -> Judge:
    """The judge in use; a new one with default settings, closed at exit, if nobody called ``use``."""
    if _in_use is None:
        judge = Judge()
        atexit.register(judge.close)
        use(judge)
    assert _in_use is not None
    return _in_use


def _tables(splits: dict[str, list[Document]], scorer: str) -> dict[str, datasets.Dataset]:
    rows = {split: [document.row(split, scorer) for document in documents] for split, documents in splits.items()}
    tables = {"validation": rows.get("search", []) + rows.get("selection", []), "test": rows["test"]}
    return {name: datasets.Dataset.from_list(table) for name, table in tables.items() if table}
