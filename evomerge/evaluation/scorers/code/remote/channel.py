"""The line between the tests' process and the answer's: each end asks the other to call something, and answers such
calls also while it waits for its own.

What crosses keeps its identity: a container that a call got is the same one in its result, and what the call changed
in it is changed on the asking end, however deep it lies. Functions stay where they are and are called over the line,
iterators are drawn from.

Standard library only: this runs in the judge.
"""

from __future__ import annotations

import enum
import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from evomerge.evaluation.judging import framed_messages
from evomerge.evaluation.scorers.code.remote import wire_format
from evomerge.evaluation.scorers.code.remote.proxies import exception
from evomerge.evaluation.scorers.code.remote.shared_classes import SharedObjects, state_of
from evomerge.evaluation.scorers.code.remote.wire_format import Crossing, Key, NotPlain, Reference

_REQUEST = b"?"  # before a message that asks; one that replies is a value's text alone


class OwnObjects(Protocol):
    """Objects of the answer's classes: the held ones, or what stands for them.

    Attributes:
        kinds: the answer's exceptions that the tests know.
    """

    kinds: dict[str, type]

    def refer(self, value: Any) -> Reference | None: ...
    def resolve(self, reference: Reference) -> Any: ...
    def do(self, what: str, /, *args: Any, **kwargs: Any) -> Any:
        """Carry out what the other end asked for."""
        ...


class Functions:
    """What one end may call of the other's: functions and iterators by number.

    Args:
        call: asks the other end to call one of its own.
        first: 0 on the tests' end, 1 on the answer's: numbers that both give must differ.
        named: functions that the tests may ask for by name, on the answer's end.
    """

    def __init__(self, call: Callable[..., Any], first: int, named: Mapping[str, Any]) -> None:
        self._call = call
        self._first = self._next = first
        self._named = named
        self._own: dict[int | str, Any] = {}
        self._keys: dict[int, Key] = {}  # by id, of both ends' functions
        self._theirs: dict[int | str, Callable[..., Any]] = {}

    def key(self, value: Any) -> Key:
        """See :class:`Crossing`. The answer has Python's own functions itself; the tests take none from it by name."""
        if id(value) in self._keys:
            return self._keys[id(value)]
        if self._first == 0 and (place := _place(value)):
            return place
        if isinstance(value, type):
            raise NotPlain(f"class {value.__name__} cannot be judged")
        key = self._keys[id(value)] = self._next
        self._own[self._next] = value  # kept, so that no other function gets its id
        self._next += 2
        return key

    def function(self, key: Key, name: str) -> Any:
        """See :class:`Crossing`."""
        if isinstance(key, list):
            if self._first == 0:
                raise NotPlain(f"{name} of the answer's library")
            return _at(*key)
        if type(key) not in (int, str):
            raise NotPlain(f"no key of a function: {key!r}")
        if type(key) is int and key % 2 == self._first:
            return self._own[key]
        if type(key) is str and self._first == 1:
            own = self._own[key] = self._named[key]
            self._keys[id(own)] = key
            return own
        if key not in self._theirs:

            def function(*args: Any, **kwargs: Any) -> Any:
                return self._call("call", key, *args, **kwargs)

            function.__name__ = function.__qualname__ = name
            self._theirs[key] = function
            self._keys[id(function)] = key
        return self._theirs[key]

    def do(self, key: int, *args: Any, **kwargs: Any) -> Any:
        """Call an own one for the other end."""
        function = self._own[key]
        if isinstance(function, Iterator):
            return list(itertools.islice(function, *args))
        return function(*args, **kwargs)


class Line:
    """One end.

    Args:
        fd: the socket.
        first: 0 on the tests' end, 1 on the answer's.
        own: objects of the answer's classes.
        shared: objects of the prompt's classes.
        named: see :class:`Functions`.
    """

    def __init__(
        self, fd: int, first: int, own: OwnObjects, shared: SharedObjects, named: Mapping[str, Any] | None = None
    ) -> None:
        self._fd = fd
        self._own, self._shared = own, shared
        self._functions = Functions(self.ask, first, named or {})
        # A test ends by what is no Exception; the answer's process tells whatever it meets.
        self._caught = BaseException if first else Exception

    def function(self, name: str) -> Callable[..., Any]:
        """A function that the answer has under this name."""
        found: Callable[..., Any] = self._functions.function(name, name)
        return found

    def ask(self, what: str, /, *args: Any, **kwargs: Any) -> Any:
        """What the other end gives back; what it changed in ``args`` is changed.

        Raises:
            Exception: of a class that Python or the tests' item knows, as it was raised there.
        """
        known: list[Any] = []
        self._send(_REQUEST, (what, args, tuple(kwargs.items())), known)
        return self.receive(known)["result"]

    def receive(self, known: list[Any] | None = None) -> dict[str, Any]:
        """The next reply; requests before it are answered."""
        known = [] if known is None else known
        while (message := framed_messages.receive(self._fd, 2 * wire_format.MAX_CHARACTERS)) is not None:
            if message.startswith(_REQUEST):
                self.serve(message)
                continue
            reply = dict(wire_format.loads(message, self._crossing({}), known))
            for number, told in dict(reply.get("changed", {})).items():
                wire_format.fill(known[number], told)
            if "error" in reply:
                raise self._error(reply)
            return reply
        raise RuntimeError("the other process is gone")

    def serve(self, message: bytes) -> None:
        """Answer a request."""
        known: list[Any] = []
        objects: dict[int, Any] = {}
        what, args, kwargs = wire_format.loads(message[len(_REQUEST) :], self._crossing(objects), known)
        containers, met = list(known), list(objects.values())
        before = self._held(containers, met)
        try:
            reply = {"result": self._do(what, *args, **dict(kwargs))}
        except self._caught as error:
            reply = raised(error)
        after = self._held(containers, met)
        differs = [one != other for one, other in zip(before, after, strict=True)]
        reply["changed"] = {n: wire_format.contents(c) for n, c in enumerate(containers) if differs[n]}
        # Told with their state, which then becomes that of the asking end's.
        reply["objects"] = tuple(o for n, o in enumerate(met, len(containers)) if differs[n])
        self.reply(reply, known)

    def reply(self, reply: dict[str, Any], known: list[Any] | None = None) -> None:
        """Send a reply, or that it cannot cross."""
        known = [] if known is None else known
        size = len(known)
        try:
            self._send(b"", reply, known)
        except NotPlain as error:
            self._send(b"", {"error": ["NotPlain"], "args": (str(error),)}, known[:size])

    def _send(self, prefix: bytes, message: Any, known: list[Any]) -> None:
        framed_messages.send(self._fd, prefix + wire_format.dumps(message, self._crossing({}), known).encode())

    def _do(self, what: str, *args: Any, **kwargs: Any) -> Any:
        if what == "call" and type(args[0]) is int:
            return self._functions.do(*args, **kwargs)
        return self._own.do(what, *args, **kwargs)

    def _held(self, containers: list[Any], objects: list[Any]) -> list[str]:
        """What each holds, as text, with others by their numbers."""
        values = [*map(wire_format.contents, containers), *(tuple(state_of(value).items()) for value in objects)]
        return wire_format.texts(values, self._crossing({}, stateless=True), containers)

    def _crossing(self, met: dict[int, Any], stateless: bool = False) -> Crossing:
        """For one message. ``met`` gets the objects of the prompt's classes in it."""
        refer = self._shared.referring(stateless)

        def resolve(reference: Reference) -> Any:
            if reference[0] not in self._shared.names:
                return self._own.resolve(reference)
            found = self._shared.resolve(reference)
            if not isinstance(found, (type, enum.Enum)):
                met[id(found)] = found
            return found

        return Crossing(
            lambda value: self._own.refer(value) or refer(value),
            resolve,
            self._functions.key,
            self._functions.function,
        )

    def _error(self, reply: dict[str, Any]) -> Exception:
        # An AssertionError raised by the answer fails the test like any other; only Exceptions may be tested for.
        names = reply["error"]
        known = (self._own.kinds.get(name) or self._shared.kind(name) or exception(name) for name in names)
        kind = next((kind for kind in known if kind and issubclass(kind, Exception)), RuntimeError)
        error: Exception = kind.__new__(kind, *reply.get("args", ()))
        error.__dict__.update(reply.get("state", {}))
        return error


def raised(error: BaseException) -> dict[str, Any]:
    """What is told of an exception: the names of its classes, nearest first, and what it holds if that is plain."""
    told: dict[str, Any] = {"error": [kind.__name__ for kind in type(error).__mro__]}
    for name, value in (("args", error.args), ("state", error.__dict__)):
        try:
            wire_format.dumps(value)
        except NotPlain:
            continue
        told[name] = value
    return told


def _place(value: Any) -> list[str] | None:
    """Module and name of what Python's library has there."""
    owner = getattr(value, "__objclass__", None) or getattr(value, "__self__", None)
    module = getattr(value, "__module__", None) or getattr(owner, "__module__", None)
    name = getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "tests":
        return None
    try:
        found = _at(module, name)
    except (ImportError, AttributeError, ValueError):
        return None
    return [module, name] if found == value else None


def _at(module: str, name: str) -> Any:
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found
