"""Objects of classes that an item's prompt defines (``class Node`` before ``def depth(root)``): both processes have the
class, so what crosses is their state: attributes, slots, and what an object holds as a list, a dict, a tuple (a named
one, too) and so on. Identity is kept: an object has one number on the line, cycles and shared parts stay what they
are, and what a call changed in an object is changed in the caller's.

The tests' process runs its own copy of the class on what it gets, so a class that the answer patched decides nothing.
Standard library only: this runs in the judge.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evomerge.evaluation.scorers.code.remote.wire_format import NotPlain, Reference, contents, fill

_CLASS = -1  # the number of a class itself; objects count from 0
_HELD = ""  # beside the names of attributes in a state: what the object holds as one of these
_CHANGING = (Counter, OrderedDict, defaultdict, list, dict, set, deque)
_FIXED = (tuple, str, int, float, complex, bytes, frozenset)


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

    def referring(self, stateless: bool = False) -> Callable[[Any], Reference | None]:
        """For one message: an object's state goes with its first mention, or with none."""
        told: set[int] = set()

        def refer(value: Any) -> Reference | None:
            if isinstance(value, type):
                return (value.__name__, _CLASS, None) if self._has(value) else None
            if not self._has(type(value)):
                return None
            name = type(value).__name__
            if isinstance(value, enum.Enum):
                return name, value.value if isinstance(value, enum.Flag) else list(type(value)).index(value), None
            if id(value) not in self._numbers:
                self._enter(value, self._next)
                self._next += 2
            number = self._numbers[id(value)]
            state = None if stateless or number in told else state_of(value)
            told.add(number)
            return name, number, state

        return refer

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
        kind: Any = self.kind(name)
        if kind is None:
            raise NotPlain(f"an object of class {name} cannot be judged")
        if number == _CLASS:
            return kind
        if issubclass(kind, enum.Enum):
            return kind(number) if issubclass(kind, enum.Flag) else list(kind)[number]
        if number not in self._objects:
            self._enter(_made(kind, state or {}), number)
        found = self._objects[number]
        if type(found) is not kind:
            raise NotPlain(f"object {number} is no {name}")
        if state is not None:
            _become(found, state)
        return found

    def _has(self, kind: type) -> bool:
        return kind.__name__ in self.names and self._namespace.get(kind.__name__) is kind

    def _enter(self, value: Any, number: int) -> None:
        self._objects[number] = value  # kept, so that no other object gets its id
        self._numbers[id(value)] = number


def state_of(value: Any) -> dict[str, Any]:
    """All that makes an object what it is, by the names of its attributes."""
    slots = {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)}
    held: dict[str, Any] = {}
    if isinstance(value, _CHANGING):
        held[_HELD] = contents(value)
    elif isinstance(value, _FIXED):
        held[_HELD] = _held_as(type(value))(value)
    return {**getattr(value, "__dict__", {}), **slots, **held}


def _made(kind: Any, state: Mapping[str, Any]) -> Any:
    """An object of class ``kind``, without its ``__init__``."""
    base = _held_as(kind)
    if base not in _FIXED:
        return base.__new__(kind)
    if type(state.get(_HELD)) is not base:
        raise NotPlain(f"no {base.__name__} for a {kind.__name__}")
    return base.__new__(kind, state[_HELD])


def _become(found: Any, state: Mapping[str, Any]) -> None:
    kind = type(found)
    slots = set(_slots(kind))
    declared = getattr(kind, "__dataclass_fields__", {})
    for key in state:
        if not isinstance(key, str) or (key not in declared and callable(getattr(kind, key, None))):
            raise NotPlain(f"{kind.__name__}.{key} is no attribute of an object")
    if isinstance(found, _CHANGING):
        fill(found, state.get(_HELD, ()))
    for key in slots:
        if key in state:
            object.__setattr__(found, key, state[key])  # a frozen dataclass refuses its own
        elif hasattr(found, key):
            object.__delattr__(found, key)
    if hasattr(found, "__dict__"):
        found.__dict__.clear()
        found.__dict__.update({key: value for key, value in state.items() if key != _HELD and key not in slots})


def _held_as(kind: type) -> Any:
    return next((base for base in kind.__mro__ if base in _CHANGING or base in _FIXED), object)


def _slots(kind: type) -> Iterator[str]:
    for base in kind.__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                private = name.startswith("__") and not name.endswith("__")
                yield f"_{base.__name__.lstrip('_')}{name}" if private else name
