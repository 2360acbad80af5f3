"""Store scores of the selection and test items, one JSON line each, on disk before they are used."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evomerge.search.records import items_from_json, items_to_json
from evomerge.types import Done, ItemScore, Recipe


@dataclass(frozen=True)
class _Part:
    """The part of an evaluation that belongs to one task."""

    items: tuple[ItemScore, ...]
    seconds: float
    isolation: str


def control_key(winner: Recipe) -> str:
    """Key of the winner's control, an adapter of its size with random directions."""
    return f"{winner.fingerprint}+random"


class Evaluations:
    """The file ``evaluations.jsonl``: item scores by (fingerprint, split, task); the last line of a task counts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[tuple[str, str, str], _Part] = {}
        self._failures: dict[tuple[str, str, str], str] = {}
        if path.exists():
            for line in path.read_bytes().splitlines():
                self._read(line)

    def _read(self, line: bytes) -> None:
        try:
            values = json.loads(line)
        except ValueError:
            return  # half a line, left by a killed process: its evaluation is done again
        if "error" in values:
            self._failures[values["fingerprint"], values["split"], values["task"]] = values["error"]
            return
        items = items_from_json(values["items"])
        self._enter(values["fingerprint"], values["split"], items, values["seconds"], values["isolation"])

    def _enter(self, fingerprint: str, split: str, items: Sequence[ItemScore], seconds: float, isolation: str) -> None:
        by_task: dict[str, list[ItemScore]] = {}
        for item in items:
            by_task.setdefault(item.task, []).append(item)
        for task, own in by_task.items():
            share = seconds * len(own) / len(items)
            self._parts[fingerprint, split, task] = _Part(tuple(own), share, isolation)

    def record(self, fingerprint: str, split: str, done: Done, task: str | None = None) -> None:
        """Append the evaluation and flush it to disk. A failure is recorded only if it concerns one ``task``."""
        if done.error is None:
            values = {
                "fingerprint": fingerprint,
                "split": split,
                "seconds": round(done.seconds, 3),
                "isolation": done.isolation,
                "items": items_to_json(done.items),
            }
            self._append(values)
            self._enter(fingerprint, split, done.items, done.seconds, done.isolation)
        elif task is not None:
            self._append({"fingerprint": fingerprint, "split": split, "task": task, "error": done.error})
            self._failures[fingerprint, split, task] = done.error

    def _append(self, values: Mapping[str, Any]) -> None:
        text = json.dumps(values, ensure_ascii=False).encode() + b"\n"
        with open(self._path, "a+b") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # end the half line of a killed process, or it would swallow this one
                    text = b"\n" + text
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def failure(self, fingerprint: str, split: str, task: str) -> str | None:
        """Why the task could not be scored when it was last tried; None if it was scored or never tried."""
        key = fingerprint, split, task
        return None if key in self._parts else self._failures.get(key)

    def of_split(self, split: str) -> Iterator[tuple[str, str, tuple[ItemScore, ...]]]:
        """Fingerprint, task and items of all evaluations on the items of ``split``, in order of their first line."""
        for (fingerprint, own, task), part in self._parts.items():
            if own == split:
                yield fingerprint, task, part.items

    def find(self, fingerprint: str, split: str, tasks: Sequence[str]) -> Done | None:
        """The evaluations of all ``tasks``, in their order; None unless each of them is stored."""
        parts = [self._parts.get((fingerprint, split, task)) for task in tasks]
        known = [part for part in parts if part is not None]
        if not known or len(known) < len(parts):
            return None
        items = tuple(item for part in known for item in part.items)
        return Done(fingerprint, items, sum(part.seconds for part in known), known[0].isolation)
