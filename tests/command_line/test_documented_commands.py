"""The command line accepts every command in help and documents, up to the files that it names."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from evomerge.command_line.compose import compose
from evomerge.command_line.help import help_text
from evomerge.command_line.overrides import read, typed_settings
from evomerge.command_line.schema import job_settings
from evomerge.jobs.registry import refuse_others

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "tasks").glob("*/README.md"))]
# what stands for a person's own value
PLACEHOLDERS = {"[KEY=VALUE ...]": "", "tasks.NAME.": "tasks.sql.", "tasks=[...]": "tasks=[sql]"}


def commands(text: str) -> list[str]:
    """What follows ``python -m evomerge`` in blocks of code, between back quotes, or on a line; optional words, which
    stand in brackets, among them."""
    text = text.replace("\\\n", " ")
    found = re.findall(r"(?:^|`|&& )(?:python -m )?evomerge ((?:\+?[\w.]+=|-m )[^`\n#]*)", text, re.MULTILINE)
    for placeholder, value in PLACEHOLDERS.items():
        found = [command.replace(placeholder, value) for command in found]
    return [re.sub(r"(?<= )\[(\+?[\w.]+=(?:\[[^\]]*\]|[^\]\s])*)\]?", r"\1", command).strip() for command in found]


SHOWN = {(path.name, command) for path in DOCUMENTS for command in commands(path.read_text())}
SHOWN |= {("help", re.sub(r"  .*", "", command)) for command in commands(help_text())}


@pytest.mark.parametrize(("document", "command"), sorted(SHOWN))
def test_a_shown_command_is_taken(document: str, command: str) -> None:
    words = shlex.split(command)
    _, overrides = read(words)
    composed = compose([word for word in overrides if word != "-m"])
    refuse_others(composed.job, typed_settings(words))
    job_settings(composed)


def test_commands_are_found() -> None:
    assert len(SHOWN) > 15 and {"help", "README.md", "evaluation.md"} <= {document for document, _ in SHOWN}
