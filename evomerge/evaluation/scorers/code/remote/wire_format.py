"""Python values as text, for the line between the tests and the tested code.

What comes from tested code is hostile, so it is decoded by hand into built-in types: no pickle, no marshal, no object
whose ``__eq__`` the tested code wrote. Containers that can change keep their identity within a call: in its messages
the first mention of one is written out and gives it the next number, later ones are the number.
"""

from __future__ import annotations

import builtins
import datetime
import itertools
import json
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_CHARACTERS = 4 << 20
_MAX_DEPTH = 200
_FIRST_DRAWS, _BATCH = 100, 1000


class NotPlain(Exception):
    """A value that cannot cross: too large, too deep, or of a type that the other side could not have in its place."""


Reference = tuple[str, int, dict[str, Any] | None]
"""What crosses for an object that is not plain: the name of its class, its number, and its state if both ends have the
class (None if it was told before)."""
Key = int | str | list[str]
"""What crosses for something to call: its number, its name in the answer, or module and name in Python's library."""


def _no_object(reference: Reference) -> Any:
    raise NotPlain(f"an object of class {reference[0]} cannot be judged")


def _no_key(value: Any) -> Key:
    raise NotPlain(f"a value of type {type(value).__name__} cannot be judged")


def _no_function(key: Key, name: str) -> Callable[..., Any]:
    raise NotPlain(f"'{name}' cannot be called from here")


@dataclass(frozen=True)
class Crossing:
    """How values cross that are not plain; by default none do.

    Attributes:
        refer: asked first for each value: a reference to send instead, or None.
        resolve: gives what stands for a reference.
        key: of something to call, or of an iterator: the key that the other end calls it by.
        function: what calls it from the other end. An iterator's gives as many of its next values as it is asked for.
    """

    refer: Callable[[Any], Reference | None] = lambda value: None
    resolve: Callable[[Reference], Any] = _no_object
    key: Callable[[Any], Key] = _no_key
    function: Callable[[Key, str], Callable[..., Any]] = _no_function


PLAIN = Crossing()


def dumps(value: Any, crossing: Crossing = PLAIN, known: list[Any] | None = None) -> str:
    """Text of a value.

    >>> loads(dumps({"a": (1, 2.5, {3})}))
    {'a': (1, 2.5, {3})}

    Args:
        known: containers that the other end knows by their place in this list; those in ``value`` are added.

    Raises:
        NotPlain: the value cannot cross.
    """
    try:
        text = json.dumps(_Writer(crossing, [] if known is None else known).write(value, 0))
    except RecursionError:
        raise NotPlain("nested too deeply") from None
    if len(text) > MAX_CHARACTERS:
        raise NotPlain("value too large")
    return text


def texts(values: Iterable[Any], crossing: Crossing, known: list[Any]) -> list[str]:
    """The text of each value as if all were in one message, for finding out which of them change; empty for one that
    cannot cross."""
    writer = _Writer(crossing, list(known))
    found = []
    for value in values:
        try:
            found.append(json.dumps(writer.write(value, 0)))
        except (NotPlain, RecursionError):
            found.append("")
    return found


def loads(text: str | bytes, crossing: Crossing = PLAIN, known: list[Any] | None = None) -> Any:
    """The value of ``dumps``' text; safe for text that an enemy wrote.

    Raises:
        NotPlain: the text is not one of ours.
    """
    try:
        return _Reader(crossing, [] if known is None else known).read(json.loads(text), 0)
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, AttributeError, ArithmeticError) as error:
        raise NotPlain(str(error)) from None


def contents(container: Any) -> bytes | tuple[Any, ...]:
    """What is in a container that can change, for :func:`fill`."""
    if isinstance(container, bytearray):
        return bytes(container)
    if isinstance(container, dict):
        return tuple((OrderedDict if isinstance(container, OrderedDict) else dict).items(container))
    kind: Any = next(kind for kind in _CHANGING if isinstance(container, kind))
    return tuple(kind.__iter__(container))


def fill(container: Any, told: Any) -> None:
    """Give a container these contents instead of its own."""
    if isinstance(container, (list, bytearray)):
        container[:] = told
        return
    kind: Any = next(kind for kind in (OrderedDict, *_CHANGING) if isinstance(container, kind))
    kind.clear(container)
    for part in told:
        if isinstance(container, dict):
            kind.__setitem__(container, *part)
        else:
            (kind.add if kind is set else kind.append)(container, part)


class _Writer:
    def __init__(self, crossing: Crossing, known: list[Any]) -> None:
        self._crossing = crossing
        self._known = known
        self._numbers = {id(container): number for number, container in enumerate(known)}

    def write(self, value: Any, depth: int) -> Any:
        if type(value) in _AS_THEY_ARE and (type(value) is not int or -_LARGE < value < _LARGE):
            return value
        if depth > _MAX_DEPTH:
            raise NotPlain("nested too deeply")
        reference = self._crossing.refer(value)
        if reference is not None:
            name, number, state = reference
            return ["O", name, number, None if state is None else self._pairs(state.items(), depth)]
        for tag, (kind, told) in _SCALARS.items():
            if isinstance(value, kind):
                return [tag, *told(value)]
        if id(value) in self._numbers:
            return ["@", self._numbers[id(value)]]
        if isinstance(value, _CHANGING):
            self._numbers[id(value)] = len(self._known)
            self._known.append(value)
        if isinstance(value, bytearray):
            return ["a", bytes(value).hex()]
        if isinstance(value, dict):
            tag = next(tag for tag, kind in _MAPPINGS.items() if isinstance(value, kind))
            factory = [self.write(value.default_factory, depth + 1)] if isinstance(value, defaultdict) else []
            return [tag, self._pairs(contents(value), depth), *factory]
        for tag, kind in _CONTAINERS.items():
            if isinstance(value, kind):
                items = [self.write(item, depth + 1) for item in kind.__iter__(value)]
                return [tag, items, value.maxlen] if isinstance(value, deque) else [tag, items]
        for tag, view in _VIEWS.items():
            if isinstance(value, view):
                return [tag, [self.write(item, depth + 1) for item in value]]
        if isinstance(value, type) and _TYPES.get(value.__name__) is value:
            return ["T", value.__name__]
        if isinstance(value, slice):
            return ["z", *(self.write(part, depth + 1) for part in (value.start, value.stop, value.step))]
        if isinstance(value, Iterator):
            return ["n", self._crossing.key(value)]
        if callable(value):
            return ["X", self._crossing.key(value), str(getattr(value, "__name__", "function"))]
        raise NotPlain(f"a value of type {type(value).__name__} cannot be judged")

    def _pairs(self, pairs: Iterable[Any], depth: int) -> list[Any]:
        return [[self.write(key, depth + 1), self.write(value, depth + 1)] for key, value in pairs]


class _Reader:
    def __init__(self, crossing: Crossing, known: list[Any]) -> None:
        self._crossing = crossing
        self._known = known

    def read(self, code: Any, depth: int) -> Any:
        if type(code) in _AS_THEY_ARE:
            return code
        if depth > _MAX_DEPTH + 1:
            raise NotPlain("nested too deeply")
        tag, rest = code[0], code[1]
        if tag in _READ:
            return _READ[tag](*code[1:])
        if tag == "@" and type(rest) is int and rest >= 0:
            return self._known[rest]
        if tag == "a":
            return self._knowing(bytearray.fromhex(rest))
        if tag in _MAPPINGS:
            mapping = self._knowing(_MAPPINGS[tag]())
            if tag == "u":
                mapping.default_factory = self.read(code[2], depth + 1)
            for key, value in rest:
                mapping[self.read(key, depth + 1)] = self.read(value, depth + 1)
            return mapping
        if tag in ("l", "S", "q"):  # a container may be in itself
            container = self._knowing(deque(maxlen=code[2]) if tag == "q" else _CONTAINERS[tag]())
            for item in rest:
                (container.add if tag == "S" else container.append)(self.read(item, depth + 1))
            return container
        if tag in ("t", "F"):
            return _CONTAINERS[tag](self.read(item, depth + 1) for item in rest)
        if tag in _VIEWS:
            items = [self.read(item, depth + 1) for item in rest]
            if tag == "K":
                return dict.fromkeys(items).keys()
            return dict(enumerate(items)).values() if tag == "V" else dict(items).items()
        if tag == "z":
            return slice(*(self.read(part, depth + 1) for part in code[1:]))
        if tag == "n":
            return _drawn(self._crossing.function(rest, "iterator"))
        if tag == "X" and type(code[2]) is str:
            return self._crossing.function(rest, code[2])
        if tag == "O" and type(rest) is str and type(code[2]) is int:
            pairs = None if code[3] is None else [[self.read(part, depth + 1) for part in pair] for pair in code[3]]
            return self._crossing.resolve((rest, code[2], None if pairs is None else dict(pairs)))
        raise NotPlain(f"unknown tag {tag!r}")

    def _knowing(self, container: Any) -> Any:
        self._known.append(container)
        return container


def _drawn(draw: Callable[[int], Any]) -> Iterator[Any]:
    """An iterator of the other end's. What it gives may depend on what is asked of it, so it is not asked in advance
    but for long ones."""
    for count in itertools.chain(itertools.repeat(1, _FIRST_DRAWS), itertools.repeat(_BATCH)):
        items = draw(count)
        if type(items) is not list:
            raise NotPlain("no items of an iterator")
        yield from items
        if len(items) < count:
            return


def _integer(value: int) -> str:
    if int.bit_length(value) > 4 * MAX_CHARACTERS:  # before it is written out
        raise NotPlain("value too large")
    return hex(int.__index__(value))


# What JSON keeps, also infinities, but for long integers.
_AS_THEY_ARE = frozenset({type(None), bool, int, float, str})
_LARGE = 1 << 62
_CHANGING = (list, dict, set, bytearray, deque)
# What kind of value has which tag, and what is told of it. A datetime is a date, too: it comes first.
_SCALARS: dict[str, tuple[Any, Callable[[Any], tuple[Any, ...]]]] = {
    "s": (str, lambda value: (str.__str__(value),)),
    "i": (int, lambda value: (_integer(value),)),
    "f": (float, lambda value: (float.hex(value),)),
    "c": (complex, lambda value: (float.hex(value.real), float.hex(value.imag))),
    "b": (bytes, lambda value: (bytes(value).hex(),)),
    "r": (range, lambda value: (value.start, value.stop, value.step)),
    "R": (Fraction, lambda value: (_integer(value.numerator), _integer(value.denominator))),
    "D": (Decimal, lambda value: (Decimal.__str__(value),)),
    "e": (datetime.timedelta, lambda value: (value.days, value.seconds, value.microseconds)),
    "Y": (datetime.datetime, lambda value: (datetime.datetime.isoformat(value),)),
    "y": (datetime.date, lambda value: (datetime.date.isoformat(value),)),
    "h": (datetime.time, lambda value: (datetime.time.isoformat(value),)),
    "E": (type(...), lambda value: (0,)),
}
_READ: dict[str, Callable[..., Any]] = {
    "s": lambda text: _text(text),
    "i": lambda digits: int(digits, 16),
    "f": float.fromhex,
    "c": lambda real, imaginary: complex(float.fromhex(real), float.fromhex(imaginary)),
    "b": bytes.fromhex,
    "r": lambda *bounds: range(*map(int, bounds)),
    "R": lambda over, under: Fraction(int(over, 16), int(under, 16)),
    "D": lambda text: Decimal(_text(text)),
    "e": datetime.timedelta,
    "Y": datetime.datetime.fromisoformat,
    "y": datetime.date.fromisoformat,
    "h": datetime.time.fromisoformat,
    "E": lambda _: ...,
    "T": lambda name: _TYPES[name],
}
_CONTAINERS: dict[str, Any] = {"l": list, "t": tuple, "S": set, "F": frozenset, "q": deque}
_MAPPINGS: dict[str, Any] = {"C": Counter, "w": OrderedDict, "u": defaultdict, "d": dict}
_VIEWS: dict[str, Any] = {"K": KeysView, "V": ValuesView, "I": ItemsView}
#: Types that cross, by name: those of the values above, and Python's exceptions.
_TYPES: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(kind for kind, _ in _SCALARS.values()),
        *(*_CONTAINERS.values(), *_MAPPINGS.values(), bool, bytearray, type(None), object, type),
        *(kind for kind in vars(builtins).values() if isinstance(kind, type) and issubclass(kind, BaseException)),
    )
}


def _text(text: Any) -> str:
    if type(text) is not str:
        raise NotPlain("no text")
    return text
