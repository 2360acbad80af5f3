"""Read rows of data files, and the documents that scorers make of them."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from evomerge.errors import UserError


@dataclass(frozen=True)
class Document:
    """One item.

    Attributes:
        id: unique in its file.
        prompt: what the model is shown.
        gold: the gold answer; empty if there is none.
        item: what the judge needs, as plain JSON.
        group: what items of one database or schema share; it decides nothing but how halves are cut.
    """

    id: str
    prompt: str
    gold: str
    item: Mapping[str, Any]
    group: str = ""

    @property
    def judged(self) -> str:
        """The item as JSON text, which :meth:`evomerge.evaluation.judging.judge.Judge.judge` takes."""
        return json.dumps(self.item)

    def row(self, split: str, scorer: str) -> dict[str, str]:
        """The row of lm-eval's table, whose columns have one type each: all are texts."""
        texts = {"id": self.id, "split": split, "prompt": self.prompt, "gold": self.gold}
        return {**texts, "item": self.judged, "scorer": scorer}


class Row:
    """An entry of a data file: its values, and error texts that name file and line.

    Attributes:
        known: the reader's own memory from one row of the file to the next; empty at first.
    """

    def __init__(self, path: Path, line: int, values: dict[str, Any], known: dict[str, Any]) -> None:
        self.path, self.line, self.values = path, line, values
        self.known = known

    def __getitem__(self, key: str) -> Any:
        if key not in self.values:
            self.fail(f"key '{key}' is missing (it has: {', '.join(self.values)})")
        return self.values[key]

    def text(self, key: str) -> str:
        """The value, which has to be a text."""
        value = self[key]
        if not isinstance(value, str):
            self.fail(f"'{key}' must be a text, got {type(value).__name__}")
        return str(value)

    def texts(self, key: str) -> list[str]:
        """One text, or a list of some."""
        value = self[key]
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(entry, str) for entry in values):
            self.fail(f"'{key}' must be a text or a list of texts")
        return values

    def name(self, key: str) -> str:
        """The value as a text; without one, a name made of the line's number."""
        return str(self.values.get(key, f"line_{self.line}"))

    def fail(self, what: str) -> NoReturn:
        """Raise the UserError of this row."""
        raise UserError(f"{self.path}:{self.line}: {what}")


def rows(path: Path) -> Iterator[Row]:
    """Rows of a file with one JSON object a line (``.jsonl``, ``.jsonl.gz``) or with one list of objects (``.json``).

    Raises:
        UserError: no such file, or not of that form; names file and line (of a list: the entry).
    """
    if not path.is_file():
        raise UserError(f"no data file {path}: give a .jsonl file, absolute or relative to the working directory")
    known: dict[str, Any] = {}
    text = read_text(path)
    if path.suffix == ".json":
        entries = _load(path, 1, text)
        if not isinstance(entries, list):
            raise UserError(f"{path}: wanted a list of JSON objects, got {type(entries).__name__}")
        numbered: Any = enumerate(entries, 1)
    else:
        # Not splitlines: a JSON text may hold other separators of lines.
        numbered = ((n, _load(path, n, line)) for n, line in enumerate(text.split("\n"), 1) if line.strip())
    for number, values in numbered:
        if not isinstance(values, dict):
            raise UserError(f"{path}:{number}: wanted a JSON object, got {type(values).__name__}")
        yield Row(path, number, values, known)


def read_text(path: Path) -> str:
    """A file's text; ``.gz`` is unpacked, a byte order mark left out.

    Raises:
        UserError: it cannot be read, or is no UTF-8.
    """
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            return str(file.read())
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no UTF-8 text (byte {error.start}: {error.reason}): save it as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def _load(path: Path, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{path}:{number}: not JSON ({error}); a data file holds one JSON object a line") from None
