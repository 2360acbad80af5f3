"""Code answers in HumanEval's format (arXiv:2107.03374): the tests and the tested code run in two processes.

Tested code shares no process with the tests, so nothing it does there can turn into a verdict: not ``sys.exit(0)``,
printing, patched built-ins, an ``__eq__`` that always agrees, nor reading the tests. It only answers calls
(``remote.channel``), with plain values, functions and iterators that are called and drawn from over the
line, with the state of objects whose class the prompt defines (``remote.shared_classes``), and for
classes of its own that tests name with references (``remote.proxies``). The process that runs the
tests never executes a line the model wrote, and alone decides.

Standard library only: this runs in the judge.
"""

from __future__ import annotations

import ast
import builtins
import importlib
import re
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from typing import Any

from evomerge.evaluation.judging import framed_messages
from evomerge.evaluation.scorers.chat_messages import before_fence, parts, without_reasoning
from evomerge.evaluation.scorers.code.remote import wire_format
from evomerge.evaluation.scorers.code.remote.channel import Line, raised
from evomerge.evaluation.scorers.code.remote.proxies import Held, StandIns
from evomerge.evaluation.scorers.code.remote.shared_classes import SharedObjects

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


def answer_calls(fd: int) -> None:
    """Run a program that came through ``fd`` and answer calls of its functions until the other side hangs up.

    Runs in a sandboxed process of its own. The first message back says that the sandbox stood before the program ran.
    """
    framed_messages.send(fd, b"ready")
    message = framed_messages.receive(fd)
    if message is None:
        return
    sent = wire_format.loads(message)
    namespace = _module("answer")
    held = Held(sent["classes"], namespace)
    line = Line(fd, 1, held, SharedObjects(sent["shared"], namespace, 1), namespace)
    try:
        exec(compile(sent["program"], "answer.py", "exec", dont_inherit=True), namespace)
    except BaseException as error:
        line.reply(raised(error))
        return
    functions = [name for name, value in namespace.items() if callable(value) and isinstance(name, str)]
    modules = [name for name in _MODULES if name in namespace and namespace[name] is sys.modules.get(name)]
    line.reply({"functions": functions, "modules": modules, "bases": held.bases()})
    while (message := framed_messages.receive(fd)) is not None:
        line.serve(message)


def is_ready(fd: int) -> bool:
    """Whether the process behind ``fd`` stands in its sandbox; False: it died before it ran anything."""
    return framed_messages.receive(fd, 64) == b"ready"


def run_tests(fd: int, item: Mapping[str, Any], answer: str) -> bytes:
    """Send the answer's program to the process behind ``fd`` and run the item's tests on it.

    Args:
        item: ``prompt``, ``test`` (defines ``check(candidate)``) and ``entry_point``, as HumanEval has them; ``style``;
            ``classes`` whose objects tests may hold.

    Returns:
        PASSED or FAILED.
    """
    try:
        classes = item.get("classes", {})
        namespace = _trusted_namespace(item["prompt"])
        finished = [
            name for name, value in namespace.items() if isinstance(value, type) and value.__module__ == "tests"
        ]
        shared = [name for name in finished if name not in classes and name != item["entry_point"]]
        first = {"program": program(item, answer), "classes": list(classes), "shared": shared}
        framed_messages.send(fd, wire_format.dumps(first).encode())
        # A copy: the tests may give a name another meaning.
        stand_ins = StandIns(classes)
        line = Line(fd, 0, stand_ins, SharedObjects(shared, dict(namespace), 0))
        started = line.receive()
        stand_ins.begin(dict(started["bases"]), line.ask)
        for name in started["functions"]:
            # Helpers that only the answer defines; what the prompt or Python defines is never taken from the answer.
            if isinstance(name, str) and name not in namespace and not hasattr(builtins, name):
                namespace[name] = line.function(name)
        for name in started["modules"]:
            # MBPP's tests use what the program imported; the module itself is this process's own.
            if name in _MODULES and name not in namespace:
                namespace[name] = importlib.import_module(name)
        namespace[item["entry_point"]] = line.function(item["entry_point"])
        namespace |= stand_ins.kinds
        exec(compile(item["test"], "test.py", "exec", dont_inherit=True), namespace)
        namespace["check"](namespace[item["entry_point"]])
    except BaseException:
        return FAILED
    return PASSED


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
