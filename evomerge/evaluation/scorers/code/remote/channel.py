"""Two-way RPC between the tests' process and the answer's. Each end serves requests while it waits for its own reply.

A container that a call got is the same one in its result, and what the call changed in it is changed on the asking
end, however deep it lies. Functions stay where they are and are called over the channel, iterators are drawn from.

Standard library only: this runs in the judge.
"""

from __future__ import annotations

import builtins
import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from evomerge.evaluation.judging import framed_messages
from evomerge.evaluation.scorers.code.remote import wire_format
from evomerge.evaluation.scorers.code.remote.value_forms import MAX_CHARACTERS, NotPlain
from evomerge.evaluation.scorers.code.remote.wire_format import Crossing, Key

TESTS, ANSWER = 0, 1  # the two ends; numbers of functions are even on the one, odd on the other
_REQUEST = b"?"  # before a message that asks; one that replies is a value's text alone


class Functions:
    """What one end may call of the other's: functions and iterators by number.

    Args:
        end: ``TESTS`` or ``ANSWER``.
        call: asks the other end to call one of its own.
        named: functions that the tests may ask for by name, on the answer's end.
    """

    def __init__(self, end: int, call: Callable[..., Any], named: Mapping[str, Any]) -> None:
        self._end = end
        self._next = end
        self._call = call
        self._named = named
        self._own: dict[int, Any] = {}
        self._keys: dict[int, Key] = {}  # by id, of both ends' functions
        self._theirs: dict[int | str, Callable[..., Any]] = {}

    def key(self, value: Any) -> Key:
        """See :class:`Crossing`. The answer has Python's own functions itself; the tests take none from it by name."""
        if id(value) in self._keys:
            return self._keys[id(value)]
        if self._end == TESTS and (place := _place(value)):
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
            if self._end == TESTS:
                raise NotPlain(f"{name} of the answer's library")
            return _at(*key)
        if type(key) is int and key % 2 == self._end:
            return self._own[key]
        if type(key) is str and self._end == ANSWER:
            own = self._named[key]
            self._keys[id(own)] = key
            return own
        if type(key) not in (int, str):
            raise NotPlain(f"no key of a function: {key!r}")
        if key not in self._theirs:

            def function(*args: Any, **kwargs: Any) -> Any:
                return self._call(key, *args, **kwargs)

            function.__name__ = function.__qualname__ = name
            self._theirs[key] = function
            self._keys[id(function)] = key
        return self._theirs[key]

    def do(self, key: Any, args: Any, kwargs: Any) -> Any:
        """Call a function of this end for the other, or draw from an iterator."""
        if type(key) is str and self._end == ANSWER:
            return self._named[key](*args, **kwargs)
        function = self._own[key]
        if isinstance(function, Iterator):
            return list(itertools.islice(function, *args))
        return function(*args, **kwargs)


class Channel:
    """One end.

    Args:
        fd: the socket.
        end: ``TESTS`` or ``ANSWER``.
        named: see :class:`Functions`.
    """

    def __init__(self, fd: int, end: int, named: Mapping[str, Any] | None = None) -> None:
        self._fd = fd
        self._functions = Functions(end, self.call, named or {})
        self._crossing = Crossing(self._functions.key, self._functions.function)
        # A test ends by what is no Exception; the answer's process tells whatever it meets.
        self._caught = BaseException if end == ANSWER else Exception

    def function(self, name: str) -> Callable[..., Any]:
        """A function that the answer has under this name."""
        found: Callable[..., Any] = self._functions.function(name, name)
        return found

    def call(self, key: int | str, /, *args: Any, **kwargs: Any) -> Any:
        """What the other end's function gives back; what it changed in ``args`` is changed.

        Raises:
            Exception: of a class that Python has, as it was raised there.
        """
        known: list[Any] = []
        self._send(_REQUEST, (key, args, tuple(kwargs.items())), known)
        return self.receive(known)["result"]

    def receive(self, known: list[Any] | None = None) -> dict[str, Any]:
        """The next reply; requests before it are served."""
        known = [] if known is None else known
        while (message := framed_messages.receive(self._fd, 2 * MAX_CHARACTERS)) is not None:
            if message.startswith(_REQUEST):
                self.serve(message)
                continue
            reply = dict(wire_format.loads(message, self._crossing, known))
            for number, told in dict(reply.get("changed", {})).items():
                wire_format.fill(known[number], told)
            if "error" in reply:
                raise _error(reply)
            return reply
        raise RuntimeError("the other process is gone")

    def serve(self, message: bytes) -> None:
        """Do what a request asks for, and reply."""
        known: list[Any] = []
        key, args, kwargs = wire_format.loads(message[len(_REQUEST) :], self._crossing, known)
        containers = list(known)
        before = self._texts(containers)
        try:
            reply = {"result": self._functions.do(key, args, dict(kwargs))}
        except self._caught as error:
            reply = raised(error)
        after = self._texts(containers)
        differs = [one != other for one, other in zip(before, after, strict=True)]
        reply["changed"] = {n: wire_format.contents(c) for n, c in enumerate(containers) if differs[n]}
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
        framed_messages.send(self._fd, prefix + wire_format.dumps(message, self._crossing, known).encode())

    def _texts(self, containers: list[Any]) -> list[str]:
        """What each holds, as text, with others by their numbers."""
        return wire_format.texts(map(wire_format.contents, containers), self._crossing, containers)


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


def _error(reply: dict[str, Any]) -> Exception:
    # An AssertionError raised by the answer fails the test like any other; only Exceptions may be tested for.
    known = (getattr(builtins, name, None) for name in reply["error"])
    kind = next((kind for kind in known if isinstance(kind, type) and issubclass(kind, Exception)), RuntimeError)
    error: Exception = kind.__new__(kind, *reply.get("args", ()))
    error.__dict__.update(reply.get("state", {}))
    return error


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
