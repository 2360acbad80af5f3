"""Objects of classes that an item's prompt defines (``class Node`` before ``def depth(root)``): both processes have the
class, so what crosses is their state. Identity is kept: an object has one number on the line, cycles and shared parts
stay what they are, and what a call changed in an object is changed in the caller's.

The tests' process runs its own copy of the class on what it gets, so a class that the answer patched decides nothing.
Standard library only: this runs in the judge.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any

from evomerge.evaluation.plain_values import NotPlain, Reference


class SharedObjects:
    """One end's objects by number.

    Args:
        names: classes that both ends know.
        namespace: where this end has them.
        first: 0 on one end, 1 on the other: numbers that both give must differ.
    """

    def __init__(self, names: list[str], namespace: Mapping[str, Any], first: int) -> None:
        self.names = frozenset(names)
        self._namespace = namespace
        self._next = first
        self._objects: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}

    def referring(self) -> Callable[[Any], Reference | None]:
        """For one message: an object's state goes with its first mention."""
        told: set[int] = set()

        def refer(value: Any) -> Reference | None:
            if not self.knows(value):
                return None
            name = type(value).__name__
            if isinstance(value, enum.Enum):
                return name, list(type(value)).index(value), None
            if id(value) not in self._numbers:
                self._enter(value, self._next)
                self._next += 2
            number = self._numbers[id(value)]
            state = None if number in told else dict(vars(value))
            told.add(number)
            return name, number, state

        return refer

    def knows(self, value: Any) -> bool:
        kind = type(value)
        named = kind.__name__ in self.names and self._namespace.get(kind.__name__) is kind
        return named and (isinstance(value, enum.Enum) or hasattr(value, "__dict__"))

    def kind(self, name: str) -> type | None:
        """The class of this name, if both ends know it."""
        kind = self._namespace.get(name) if name in self.names else None
        return kind if isinstance(kind, type) else None

    def resolve(self, reference: Reference) -> Any:
        """The object; its state becomes the one that was sent.

        Raises:
            NotPlain: it is of no class that may cross, or would put a value in a method's place.
        """
        name, number, state = reference
        kind = self.kind(name)
        if kind is None:
            raise NotPlain(f"an object of class {name} cannot be judged")
        if issubclass(kind, enum.Enum):
            return list(kind)[number]
        if number not in self._objects:
            self._enter(object.__new__(kind), number)
        found = self._objects[number]
        if type(found) is not kind:
            raise NotPlain(f"object {number} is no {name}")
        if state is not None:
            for key in state:
                if not isinstance(key, str) or callable(getattr(kind, key, None)):
                    raise NotPlain(f"{name}.{key} is no attribute of an object")
            found.__dict__.clear()
            found.__dict__.update(state)
        return found

    def _enter(self, value: Any, number: int) -> None:
        self._objects[number] = value  # kept, so that no other object gets its id
        self._numbers[id(value)] = number
