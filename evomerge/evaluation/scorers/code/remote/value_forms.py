"""List the types whose values cross between the tests' process and the answer's, one entry each in :data:`FORMS`."""

from __future__ import annotations

import builtins
import datetime
import itertools
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_CHARACTERS = 4 << 20  # of a message
_FIRST_DRAWS, _BATCH = 100, 1000


class NotPlain(Exception):
    """A value that cannot cross: too large, too deep, or of a type that the other side could not have in its place."""


@dataclass(frozen=True)
class Form:
    """How values of one type cross.

    Attributes:
        takes: whether a value is one.
        write: of the writer and a value: what follows the tag.
        read: of the reader and what follows the tag: the value.
    """

    tag: str
    takes: Callable[[Any], bool]
    write: Callable[[Any, Any], Iterable[Any]]
    read: Callable[..., Any]


def _of(kind: Any) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _scalar(tag: str, kind: Any, told: Callable[[Any], tuple[Any, ...]], read: Callable[..., Any]) -> Form:
    return Form(tag, _of(kind), lambda _, value: told(value), lambda _, *parts: read(*parts))


def _container(tag: str, kind: Any, read: Callable[[Any, Any], Any]) -> Form:
    return Form(tag, _of(kind), lambda writer, value: [writer.all(kind.__iter__(value))], read)


def _mapping(tag: str, kind: Any) -> Form:
    return Form(tag, _of(kind), lambda w, value: [w.pairs(value)], lambda r, pairs: r.mapping(kind(), pairs))


def _view(tag: str, kind: Any, made: Callable[[list[Any]], Any]) -> Form:
    return Form(tag, _of(kind), lambda writer, value: [writer.all(value)], lambda r, codes: made(r.all(codes)))


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


def _text(text: Any) -> str:
    if type(text) is not str:
        raise NotPlain("no text")
    return text


_KINDS: tuple[Any, ...] = (str, int, float, complex, bytes, range, Fraction, Decimal, type(...))
_KINDS += (datetime.timedelta, datetime.datetime, datetime.date, datetime.time)
_KINDS += (list, tuple, set, frozenset, deque, Counter, OrderedDict, defaultdict, dict)
_KINDS += (bool, bytearray, type(None), object, type)
#: Types that cross, by name: those of the values below, and Python's exceptions.
_TYPES: dict[str, type] = {kind.__name__: kind for kind in _KINDS} | {
    name: kind for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)
}
# The first that takes a value counts: a datetime is a date, too, and a Counter a dict.
FORMS = (
    _scalar("s", str, lambda value: (str.__str__(value),), _text),
    _scalar("i", int, lambda value: (_integer(value),), lambda digits: int(digits, 16)),
    _scalar("f", float, lambda value: (float.hex(value),), float.fromhex),
    _scalar(
        "c",
        complex,
        lambda value: (float.hex(value.real), float.hex(value.imag)),
        lambda real, imaginary: complex(float.fromhex(real), float.fromhex(imaginary)),
    ),
    _scalar("b", bytes, lambda value: (bytes(value).hex(),), bytes.fromhex),
    _scalar("r", range, lambda r: (r.start, r.stop, r.step), lambda *bounds: range(*map(int, bounds))),
    _scalar(
        "R",
        Fraction,
        lambda value: (_integer(value.numerator), _integer(value.denominator)),
        lambda over, under: Fraction(int(over, 16), int(under, 16)),
    ),
    _scalar("D", Decimal, lambda value: (Decimal.__str__(value),), lambda text: Decimal(_text(text))),
    _scalar("e", datetime.timedelta, lambda t: (t.days, t.seconds, t.microseconds), datetime.timedelta),
    _scalar("Y", datetime.datetime, lambda t: (datetime.datetime.isoformat(t),), datetime.datetime.fromisoformat),
    _scalar("y", datetime.date, lambda t: (datetime.date.isoformat(t),), datetime.date.fromisoformat),
    _scalar("h", datetime.time, lambda t: (datetime.time.isoformat(t),), datetime.time.fromisoformat),
    _scalar("E", type(...), lambda _: (), lambda: ...),
    Form("a", _of(bytearray), lambda _, value: [bytes(value).hex()], lambda r, digits: r.bytearray(digits)),
    _mapping("C", Counter),
    _mapping("w", OrderedDict),
    Form(
        "u",
        _of(defaultdict),
        lambda w, value: [w.pairs(value), w.write(value.default_factory)],
        lambda r, pairs, factory: r.mapping(defaultdict(), pairs, factory),
    ),
    _mapping("d", dict),
    _container("l", list, lambda r, codes: r.filled([], codes)),
    _container("t", tuple, lambda r, codes: tuple(r.all(codes))),
    _container("S", set, lambda r, codes: r.filled(set(), codes)),
    _container("F", frozenset, lambda r, codes: frozenset(r.all(codes))),
    Form(
        "q",
        _of(deque),
        lambda w, value: [w.all(deque.__iter__(value)), value.maxlen],
        lambda r, codes, most: r.filled(deque(maxlen=most), codes),
    ),
    _view("K", KeysView, lambda items: dict.fromkeys(items).keys()),
    _view("V", ValuesView, lambda items: dict(enumerate(items)).values()),
    _view("I", ItemsView, lambda items: dict(items).items()),
    Form(
        "T",
        lambda value: isinstance(value, type) and _TYPES.get(value.__name__) is value,
        lambda _, value: [value.__name__],
        lambda _, name: _TYPES[name],
    ),
    Form(
        "z",
        _of(slice),
        lambda w, value: w.all((value.start, value.stop, value.step)),
        lambda r, *parts: slice(*r.all(parts)),
    ),
    Form(
        "n",
        _of(Iterator),
        lambda w, value: [w.crossing.key(value)],
        lambda r, key: _drawn(r.crossing.function(key, "iterator")),
    ),
    Form(
        "X",
        callable,
        lambda w, value: [w.crossing.key(value), str(getattr(value, "__name__", "function"))],
        lambda r, key, name: r.crossing.function(key, _text(name)),
    ),
)
BY_TAG = {form.tag: form for form in FORMS}
