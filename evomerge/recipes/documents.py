"""YAML files as plain values, with errors that name file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from evomerge.errors import UserError


def read_documents(path: str | Path) -> list[Any]:
    """The documents in a YAML file, empty ones left out.

    Raises:
        UserError: the file is missing, is no text or not YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"cannot read the recipe {path}: {reason}; give the path of a YAML file") from None
    except UnicodeDecodeError:
        raise UserError(f"the recipe {path} is not text; give the path of a YAML file") from None
    return parse_documents(text, str(path))


def parse_documents(text: str, where: str) -> list[Any]:
    """The documents in a YAML text. ``where``: what errors call it."""
    try:
        return [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise UserError(f"{where} is not valid YAML{line}: {problem}") from None
