"""Documents that repeat facts of the code agree with it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from evomerge.merging.describe import methods_page

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "evomerge"
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
PACKAGES = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))


def test_methods_are_listed_as_they_are():
    text = (ROOT / "docs" / "methods.md").read_text()
    assert text == methods_page(), "regenerate it: evomerge job=methods write=docs/methods.md"


def folders_of_the_tree() -> dict[str, str]:
    """Folders of the tree in the architecture, relative to the package, and their phrases."""
    block = re.search(r"```\nevomerge/\n(.*?)```", ARCHITECTURE, re.DOTALL)
    assert block is not None
    found: dict[str, str] = {}
    above: list[str] = []
    for line in block[1].splitlines():
        match = re.fullmatch(r"( +)(\w+)/ +(.+)", line)
        assert match is not None, line
        depth = len(match[1]) // 2 - 1
        above[depth:] = [match[2]]
        found["/".join(above)] = match[3]
    return found


def test_the_tree_is_the_house():
    built = {str(path.relative_to(PACKAGE)) for path in PACKAGES if path != PACKAGE}
    assert folders_of_the_tree().keys() == built


def test_functions_that_the_architecture_names_exist():
    named = re.findall(r"`([\w/]+\.py)(?:: (\w+))?`", ARCHITECTURE)
    assert len(named) > 30
    for file, name in named:
        text = (PACKAGE / file).read_text()
        assert not name or re.search(rf"^(def |class )?{name}\b", text, re.MULTILINE), f"{file} has no {name}"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_package_lists_its_modules(package: Path):
    if package == PACKAGE:
        return
    listed = set(re.findall(r"``(\w+)/?``", ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""))
    modules = {path.stem for path in package.glob("*.py") if path.stem != "__init__"}
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    missing = sorted((modules | folders) - listed)
    assert not missing, f"{package.name}/__init__.py does not list {', '.join(missing)}"


def sentences(text: str) -> list[str]:
    """Sentences of Markdown text and of the cells of its tables, without code blocks."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    parts = [part for block in text.split("\n\n") for part in (re.split(r"[|\n]", block) if "|" in block else [block])]
    return [" ".join(sentence.split()) for part in parts for sentence in re.split(r"(?<=[.!?:;])\s", part)]


def test_sentences_of_the_readme_are_short():
    long = [sentence for sentence in sentences((ROOT / "README.md").read_text()) if len(sentence.split()) > 30]
    assert not long


def test_the_tests_mirror_the_house():
    tests = ROOT / "tests"
    folders = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")} - {Path("."), Path("tasks")}
    strange = sorted(str(folder) for folder in folders if not (PACKAGE / folder / "__init__.py").is_file())
    assert not strange, f"tests of no folder of the package: {', '.join(strange)}"
