"""Write and read Python values as text, for the channel between the tests' process and the answer's.

What comes from the answer is hostile, so it is decoded by hand into built-in types: no pickle, no marshal, no object
whose ``__eq__`` the answer wrote. A value of a subclass crosses as the built-in type that it extends. Containers that
can change keep their identity within a call: in its messages the first mention of one is written out and gives it the
next number, later ones are the number.

How the values of each type are written and read: :mod:`evomerge.evaluation.scorers.code.remote.value_forms`.
"""

from __future__ import annotations

import json
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from evomerge.evaluation.scorers.code.remote.value_forms import BY_TAG, FORMS, MAX_CHARACTERS, Form, NotPlain

_MAX_DEPTH = 200
# What JSON keeps, also infinities, but for long integers.
_AS_THEY_ARE = frozenset({type(None), bool, int, float, str})
_LARGE = 1 << 62
_CHANGING = (list, dict, set, bytearray, deque)

Key = int | str | list[str]
"""What crosses for something to call: its number, its name in the answer, or module and name in Python's library."""


def _no_key(value: Any) -> Key:
    raise NotPlain(f"a value of type {type(value).__name__} cannot be judged")


def _no_function(key: Key, name: str) -> Callable[..., Any]:
    raise NotPlain(f"'{name}' cannot be called from here")


@dataclass(frozen=True)
class Crossing:
    """How functions and iterators cross; by default none do.

    Attributes:
        key: of something to call, or of an iterator: the key that the other end calls it by.
        function: what calls it from the other end. An iterator's gives as many of its next values as it is asked for.
    """

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
        text = json.dumps(_Writer(crossing, [] if known is None else known).write(value))
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
            found.append(json.dumps(writer.write(value)))
        except (NotPlain, RecursionError):
            found.append("")
    return found


def loads(text: str | bytes, crossing: Crossing = PLAIN, known: list[Any] | None = None) -> Any:
    """The value of ``dumps``' text; safe for text that an enemy wrote.

    Raises:
        NotPlain: the text is not one of ours.
    """
    try:
        return _Reader(crossing, [] if known is None else known).read(json.loads(text))
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
        self.crossing = crossing
        self._known = known
        self._numbers = {id(container): number for number, container in enumerate(known)}
        self._forms: dict[type, Form] = {}
        self._depth = 0

    def write(self, value: Any) -> Any:
        """The value as JSON's own types."""
        if type(value) in _AS_THEY_ARE and (type(value) is not int or -_LARGE < value < _LARGE):
            return value
        if self._depth > _MAX_DEPTH:
            raise NotPlain("nested too deeply")
        form = self._form(value)
        if isinstance(value, _CHANGING):
            if id(value) in self._numbers:
                return ["@", self._numbers[id(value)]]
            self._numbers[id(value)] = len(self._known)
            self._known.append(value)
        self._depth += 1
        try:
            return [form.tag, *form.write(self, value)]
        finally:
            self._depth -= 1

    def _form(self, value: Any) -> Form:
        if (found := self._forms.get(type(value))) is not None:
            return found
        for form in FORMS:
            if form.takes(value):
                if not isinstance(value, type):  # of types, the value itself decides
                    self._forms[type(value)] = form
                return form
        raise NotPlain(f"a value of type {type(value).__name__} cannot be judged")

    def all(self, values: Iterable[Any]) -> list[Any]:
        return [self.write(value) for value in values]

    def pairs(self, mapping: Any) -> list[Any]:
        found: Any = contents(mapping)
        return [self.all(pair) for pair in found]


class _Reader:
    def __init__(self, crossing: Crossing, known: list[Any]) -> None:
        self.crossing = crossing
        self._known = known
        self._depth = 0

    def read(self, code: Any) -> Any:
        """The value that ``code`` stands for."""
        if type(code) in _AS_THEY_ARE:
            return code
        if self._depth > _MAX_DEPTH + 1:
            raise NotPlain("nested too deeply")
        tag, *told = code
        if tag == "@":
            return self._known[_natural(*told)]
        self._depth += 1
        try:
            return BY_TAG[tag].read(self, *told)
        finally:
            self._depth -= 1

    def all(self, codes: Any) -> list[Any]:
        return [self.read(code) for code in codes]

    def filled(self, container: Any, codes: Any) -> Any:
        """The container, known from now on since it may be in itself, with what ``codes`` stand for."""
        self._known.append(container)
        for code in codes:
            (container.add if isinstance(container, set) else container.append)(self.read(code))
        return container

    def mapping(self, mapping: Any, pairs: Any, factory: Any = None) -> Any:
        self._known.append(mapping)
        if isinstance(mapping, defaultdict):
            mapping.default_factory = self.read(factory)
        for key, value in pairs:
            mapping[self.read(key)] = self.read(value)
        return mapping

    def bytearray(self, digits: str) -> bytearray:
        self._known.append(found := bytearray.fromhex(digits))
        return found


def _natural(number: Any) -> int:
    if type(number) is not int or number < 0:
        raise NotPlain("no number of a container")
    return number
