"""Read the names of models in a mergekit file: ``path[@revision][+lora[@revision]]``, or a mapping."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from evomerge.mergekit.config import ModelRef
from evomerge.recipes.yaml_files import located
from evomerge.recipes.yaml_nodes import Node


@dataclass(frozen=True)
class Surroundings:
    """Context that decides which model a name means.

    Attributes:
        folder: folder to look up relative paths in, before the working directory.
        steps: names of the file's documents; a name takes precedence over a path.
    """

    folder: Path | None
    steps: frozenset[str]

    def locate(self, path: str) -> str:
        """``path`` relative to the working directory; unchanged if ``folder`` does not contain it."""
        return located(path, self.folder)


def model_ref(node: Node, around: Surroundings) -> ModelRef:
    """Read a model's name from a text or a mapping ``{model, lora, override_architecture}``.

    If the whole text is an existing path, it is that path, even with ``@`` and ``+`` in it.
    """
    if not isinstance(node.value, dict):
        text = node.text()
        parts = [text] if _exists(text, around) else text.split("+")
        if len(parts) > 2 or not all(parts):
            node.refuse(f"a model is path[@revision][+lora[@revision]], got '{text}'")
        return _joined([_path(Node(part, node.file, node.key), around) for part in parts], None, around)
    node.mapping(("model", "lora", "override_architecture"), ("model",), "a model")
    if isinstance(node["model"].value, str) and "lora" not in node:
        inner = model_ref(node["model"], around)
        return ModelRef(
            inner.path,
            inner.revision,
            inner.lora,
            inner.lora_revision,
            node["override_architecture"].optional_text(),
            inner.step,
        )
    found = [_path(node[key], around) for key in ("model", "lora") if key in node]
    return _joined(found, node["override_architecture"].optional_text(), around)


def _path(node: Node, around: Surroundings) -> tuple[str, str | None]:
    """Path and revision of a text or of a mapping ``{path, revision}``."""
    if isinstance(node.value, dict):
        node.mapping(("path", "revision"), ("path",), "a model's path")
        return node["path"].text(), node["revision"].optional_text()
    text = node.text()
    if _exists(text, around) or "@" not in text:
        return text, None
    path, _, revision = text.partition("@")
    if not path or not revision or "@" in revision:
        node.refuse(f"a model's path is path[@revision], got '{text}'")
    return path, revision


def _joined(found: list[tuple[str, str | None]], architecture: str | None, around: Surroundings) -> ModelRef:
    (path, revision), (lora, lora_revision) = found[0], found[1] if len(found) > 1 else (None, None)
    step = path in around.steps
    return ModelRef(
        path if step else around.locate(path),
        revision,
        None if lora is None else around.locate(lora),
        lora_revision,
        architecture,
        step,
    )


def _exists(text: str, around: Surroundings) -> bool:
    return os.path.exists(around.locate(text))  # Path.exists raises for a text too long to be a path
