"""Objects of classes that the answer defines, for tests that make and use some (``Node(1).left = Node(2)``).

The objects stay in the answer's process (:class:`Held`); the tests work on stand-ins, and what a test does to one is
asked over the line like a call (:class:`StandIns`). So that none of this lets an answer vouch for itself:

- Only classes that the item lists have stand-ins: those that the gold program defines and the tests name. In all other
  tests nothing but plain values crosses.
- An object is compared with a plain value in the tests' process, by the value it holds as a subclass of a built-in.
- Operators with a plain operand, ``in``, and methods that built-in types have too, are asked only of classes whose gold
  has them: ``abs(f(x) - 0.5) < 1e-6`` must not be put to an object that stands where the tests expect a number.

Standard library only: this runs in the judge.
"""

from __future__ import annotations

import builtins
import copy
import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evomerge.evaluation.scorers.code.remote.wire_format import NotPlain, Reference

#: As :func:`evomerge.evaluation.scorers.code.data.classes_of` writes them: name of a class, and what its gold defines.
Classes = Mapping[str, list[str]]
Ask = Callable[..., Any]

_CLASS = -1  # the number of a class itself; objects count from 0
_PLAIN: dict[type, Callable[[Any], Any]] = {
    str: str.__str__,
    int: int.__index__,
    float: float.__float__,
    list: lambda value: list(list.__iter__(value)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
    dict: lambda value: dict(dict.items(value)),
}
_BUILT_IN = {name for kind in (*_PLAIN, bytes, complex) for name in dir(kind) if not name.startswith("__")}
_SAFE_DUNDERS = ("__dict__", "__doc__", "__name__")
# What shows an object and tells it nothing that a test expects.
_UNARY: dict[str, Callable[..., Any]] = {
    "__len__": len,
    "__iter__": lambda value: list(iter(value)),
    "__next__": next,
    "__str__": str,
    "__repr__": repr,
    "__bool__": bool,
    "__hash__": hash,
    "__int__": int,
    "__float__": float,
    "__abs__": abs,
    "__round__": round,
    "__neg__": operator.neg,
    "__pos__": operator.pos,
    "__invert__": operator.invert,
    "__reversed__": lambda value: list(reversed(value)),
    "__getitem__": operator.getitem,
    "__setitem__": operator.setitem,
    "__delitem__": operator.delitem,
    "__copy__": copy.copy,
    "__deepcopy__": lambda value, memo: copy.deepcopy(value),
    "__enter__": lambda value: type(value).__enter__(value),
    "__call__": lambda value, *args, **kwargs: value(*args, **kwargs),
}
_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    f"__{name}__": getattr(operator, f"__{name}__")
    for name in ("lt", "le", "gt", "ge", "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow")
} | {"__and__": operator.and_, "__or__": operator.or_, "__xor__": operator.xor}
_ORDER = ("__lt__", "__le__", "__gt__", "__ge__")


class Held:
    """In the answer's process: the objects that the tests have stand-ins of.

    Args:
        names: classes whose objects may cross.
        namespace: of the answer.
    """

    def __init__(self, names: list[str], namespace: dict[str, Any]) -> None:
        self._names = set(names)
        self._namespace = namespace
        self._objects: list[Any] = []
        self._numbers: dict[int, int] = {}
        self.kinds: dict[str, type] = {}

    def bases(self) -> dict[str, list[str]]:
        """Of each class: its name and those of its bases, nearest first."""
        found = {name: self._namespace.get(name) for name in self._names}
        return {
            name: [base.__name__ for base in kind.__mro__] for name, kind in found.items() if isinstance(kind, type)
        }

    def refer(self, value: Any) -> Reference | None:
        if isinstance(value, type):
            return (value.__name__, _CLASS, None) if self._knows(value) else None
        kind = next((kind for kind in type(value).__mro__ if self._knows(kind)), None)
        if kind is None or isinstance(value, BaseException):
            return None
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)  # kept, so that no other object gets its id
        return kind.__name__, self._numbers[id(value)], None

    def resolve(self, reference: Reference) -> Any:
        name, number, _ = reference
        return self._namespace[name] if number == _CLASS else self._objects[number]

    def do(self, what: str, owner: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call the answer's function of the name ``owner``, or carry out what a stand-in was asked. ``get`` gives a
        pair: whether it is a method, and else the value."""
        if what == "call":
            return self._namespace[owner](*args, **kwargs)
        if what == "get":
            value = getattr(owner, *args)
            method = callable(value) and self.refer(value) is None
            return (method, None if method else value)
        if what == "method":
            return getattr(owner, args[0])(*args[1:], **kwargs)
        if what == "plain":
            return [plain(owner) for kind, plain in _PLAIN.items() if isinstance(owner, kind)][:1]
        if what == "__exit__":
            kind = getattr(builtins, args[0], RuntimeError) if args[0] else None
            return bool(type(owner).__exit__(owner, kind, kind() if kind else None, None))
        found: Callable[..., Any] = {**_UNARY, **_BINARY, **_MORE}[what]
        return found(owner, *args, **kwargs)

    def _knows(self, kind: type) -> bool:
        return kind.__name__ in self._names and self._namespace.get(kind.__name__) is kind


_MORE: dict[str, Callable[..., Any]] = {
    "set": setattr,
    "delete": delattr,
    "__eq__": lambda a, b: bool(a == b),
    "__contains__": operator.contains,
}


class StandIns:
    """In the tests' process: classes that stand for the answer's, ``kinds``, and their objects.

    Args:
        classes: of the item.
    """

    def __init__(self, classes: Classes) -> None:
        self.kinds: dict[str, type] = {}
        self._classes = classes
        self._objects: dict[tuple[str, int], Any] = {}

    def begin(self, bases: Mapping[str, list[str]], ask: Ask) -> None:
        """Make the classes.

        Args:
            bases: what the answer says of its classes (:meth:`Held.bases`).
            ask: asks the answer: what, then arguments.
        """
        classes = self._classes
        for name in sorted(classes, key=lambda name: len(bases.get(name, ()))):  # bases first
            if name not in bases:
                continue
            known = next((self.kinds[base] for base in bases[name] if base in self.kinds), None)
            builtin = next((kind for base in bases[name] if (kind := exception(base))), None)
            if builtin is not None:
                self.kinds[name] = type(name, (known or builtin,), {})
            else:
                members = {"__slots__": (), "__evomerge_ask__": staticmethod(ask)}
                own = frozenset(classes[name])
                self.kinds[name] = _Kind(name, (known or _StandIn,), members | {"__evomerge_own__": own})

    def do(self, what: str, /, *args: Any, **kwargs: Any) -> Any:
        raise NotPlain(f"an answer cannot ask for '{what}'")

    def refer(self, value: Any) -> Reference | None:
        kind = type(value)
        if kind is _Kind:
            return value.__name__, _CLASS, None
        if type(kind) is _Kind:
            return kind.__name__, value.__evomerge_number__, None
        return None

    def resolve(self, reference: Reference) -> Any:
        name, number, _ = reference
        kind = self.kinds.get(name)
        if not isinstance(kind, _Kind):
            raise NotPlain(f"an object of class {name} cannot be judged")
        if number == _CLASS:
            return kind
        if (name, number) not in self._objects:
            make: Any = object.__new__  # calling the kind would make another object in the answer's process
            self._objects[name, number] = found = make(kind)
            object.__setattr__(found, "__evomerge_number__", number)
        return self._objects[name, number]


def exception(name: str) -> type[Exception] | None:
    """Python's own exception of this name. Nothing else may be raised in the tests' process in an answer's name."""
    kind = getattr(builtins, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, Exception) else None


def _get(owner: Any, kind: Any, name: str) -> Any:
    if name.startswith("__") and name not in _SAFE_DUNDERS:
        raise AttributeError(name)
    if name in _BUILT_IN and name not in kind.__evomerge_own__:
        raise AttributeError(f"'{kind.__name__}' has no '{name}' in the gold program")
    method, value = kind.__evomerge_ask__("get", owner, name)
    return functools.partial(kind.__evomerge_ask__, "method", owner, name) if method else value


class _Kind(type):
    """Class of the classes: calling one makes an object in the answer's process."""

    __evomerge_ask__: Ask
    __evomerge_own__: frozenset[str]

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return cls.__evomerge_ask__("__call__", cls, *args, **kwargs)

    def __getattr__(cls, name: str) -> Any:
        return _get(cls, cls, name)

    def __iter__(cls) -> Iterator[Any]:  # an Enum's members
        return iter(cls.__evomerge_ask__("__iter__", cls))

    def __getitem__(cls, key: Any) -> Any:
        return cls.__evomerge_ask__("__getitem__", cls, key)

    def __len__(cls) -> int:
        return int(cls.__evomerge_ask__("__len__", cls))

    def __bool__(cls) -> bool:
        return True


class _StandIn:
    """An object that is in the answer's process."""

    __slots__ = ("__evomerge_number__",)
    __evomerge_ask__: Ask
    __evomerge_own__: frozenset[str]

    def __getattr__(self, name: str) -> Any:
        return _get(self, type(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        self.__evomerge_ask__("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        self.__evomerge_ask__("delete", self, name)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, _StandIn):
            return self.__evomerge_ask__("__eq__", self, other) is True
        plain = self.__evomerge_ask__("plain", self)
        return bool(plain) and bool(plain[0] == other)

    def __contains__(self, value: Any) -> bool:
        if "__contains__" in self.__evomerge_own__:
            return bool(self.__evomerge_ask__("__contains__", self, value))
        return any(value is entry or value == entry for entry in iter(self))

    def __exit__(self, kind: type | None, error: BaseException | None, trace: object) -> bool:
        return bool(self.__evomerge_ask__("__exit__", self, kind.__name__ if kind else ""))


def _unary(name: str) -> Callable[..., Any]:
    def asked(self: _StandIn, /, *args: Any, **kwargs: Any) -> Any:
        args = ({},) if name == "__deepcopy__" else args
        found = self.__evomerge_ask__(name, self, *args, **kwargs)
        return iter(found) if name in ("__iter__", "__reversed__") else found

    return asked


def _binary(name: str, reflected: str | None = None) -> Callable[[_StandIn, Any], Any]:
    def asked(self: _StandIn, other: Any) -> Any:
        if not isinstance(other, _StandIn) and (reflected or name) not in self.__evomerge_own__:
            return NotImplemented
        return self.__evomerge_ask__(name, *((other, self) if reflected else (self, other)))

    return asked


for _name in _UNARY:
    setattr(_StandIn, _name, _unary(_name))
for _name in _BINARY:
    setattr(_StandIn, _name, _binary(_name))
    if _name not in _ORDER:
        setattr(_StandIn, f"__r{_name[2:]}", _binary(_name, f"__r{_name[2:]}"))
