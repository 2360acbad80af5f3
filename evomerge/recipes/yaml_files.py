"""Read YAML files as plain values, with errors that name file and line."""

from __future__ import annotations

import os
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
        return [document for document in yaml.load_all(text, Loader=_Loader) if document is not None]
    except RecursionError:
        raise UserError(f"{where} is not valid YAML: its brackets are nested too deeply") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise UserError(f"{where} is not valid YAML{line}: {problem}") from None


def located(model: str, folder: Path | None) -> str:
    """A path relative to ``folder``, made to work from the working directory; other names are unchanged."""
    # not Path.exists: it raises for a text too long to be a path
    if folder is not None and not Path(model).is_absolute() and os.path.exists(folder / model):
        return str(folder / model)
    return model


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping; YAML would silently take the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    problem = f"the key '{key.value}' is there twice, drop one"
                    raise yaml.composer.ComposerError(None, None, problem, key.start_mark)
                seen.add((key.tag, key.value))
        return node
