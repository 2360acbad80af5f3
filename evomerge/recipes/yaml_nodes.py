"""Check a YAML value together with its place in the file: every error names file and key."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from evomerge.errors import UserError, nearest


def finite_number(value: Any) -> float | None:
    """``value`` as a finite number; None when it is none. A text may be one: YAML 1.1 reads 1e-3 as a text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


@dataclass(frozen=True)
class Node:
    """A value and where it stands: ``file`` and the path of keys, ``slices[0].sources[1].model``."""

    value: Any
    file: str
    key: str = ""

    @property
    def name(self) -> str:
        """The last key of the path, ``this`` for a whole document or an entry of a list."""
        last = self.key.rpartition(".")[2]
        return "this" if not last or last.endswith("]") else last

    @property
    def where(self) -> str:
        return f"{self.file}: {self.key}" if self.key else self.file

    def __contains__(self, key: str) -> bool:
        """Whether the mapping has a value for ``key``; an empty one counts as none."""
        return self.value.get(key) is not None

    def __getitem__(self, key: str) -> Node:
        return Node(self.value.get(key), self.file, f"{self.key}.{key}" if self.key else key)

    def mapping(self, known: Sequence[str], needed: Sequence[str] = (), what: str = "this", whose: str = "") -> Node:
        """The node itself when it is a mapping with no unknown and all needed keys.

        Args:
            known: keys that it may have.
            needed: keys that it must have.
            what: what errors call it.
            whose: what gives it these keys (``" for ties"``), for the error about an unknown one.
        """
        if not isinstance(self.value, dict):
            self.refuse(f"{what} must be a mapping with the keys {', '.join(known)}, got {self.kind}")
        for key in self.value:
            if key not in known:
                hint = nearest(str(key), known) if known else "there are none"
                self.refuse(f"unknown key '{key}'{whose}: {hint}")
        for key in needed:
            if key not in self:
                self.refuse(f"{what} needs the key '{key}'")
        return self

    def entries(self) -> list[tuple[str, Node]]:
        """Keys and nodes of a mapping whose keys are free; nothing gives []."""
        if self.value is None:
            return []
        if not isinstance(self.value, dict):
            self.refuse(f"{self.name} must be a mapping, got {self.kind}")
        return [(str(key), Node(value, self.file, f"{self.key}.{key}")) for key, value in self.value.items()]

    def items(self) -> list[Node]:
        """Nodes of a list that is not empty."""
        if not isinstance(self.value, list) or not self.value:
            self.refuse(f"{self.name} must be a list, got {self.kind}")
        return [Node(value, self.file, f"{self.key}[{number}]") for number, value in enumerate(self.value)]

    def text(self) -> str:
        if isinstance(self.value, str) and self.value:
            return self.value
        self.refuse(f"{self.name} must be a text, got {self.kind}")

    def optional_text(self) -> str | None:
        return None if self.value is None else self.text()

    def whole(self) -> int:
        if isinstance(self.value, int) and not isinstance(self.value, bool):
            return self.value
        self.refuse(f"{self.name} must be a whole number, got {self.kind}")

    def number(self) -> float:
        """A finite number; a text may be one."""
        found = finite_number(self.value)
        if found is None:
            wanted = "a number" if isinstance(self.value, str) else "a finite number"
            self.refuse(f"{self.name} must be {wanted}, got {self.kind}")
        return found

    def switch(self) -> bool:
        if isinstance(self.value, bool):
            return self.value
        self.refuse(f"{self.name} must be true or false, got {self.kind}")

    @property
    def kind(self) -> str:
        """What the value is, for errors."""
        if self.value is None:
            return "nothing"
        if isinstance(self.value, dict):
            return "a mapping"
        if isinstance(self.value, list):
            return "a list" if self.value else "an empty list"
        return repr(self.value)

    def refuse(self, problem: str) -> NoReturn:
        raise UserError(f"{problem} ({self.where})")
