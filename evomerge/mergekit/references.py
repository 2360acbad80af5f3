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
    """What decides which model a name means.

    Attributes:
        folder: where relative paths are looked up first; then in the working directory.
        steps: names of the file's documents; these come before any path.
    """

    folder: Path | None
    steps: frozenset[str]

    def locate(self, path: str) -> str:
        """``path`` as it works from the working directory; what does not exist in ``folder`` stays as it is."""
        return located(path, self.folder)


def model_ref(node: Node, around: Surroundings) -> ModelRef:
    """The model that a text or a mapping ``{model, lora, override_architecture}`` names.

    A text that is an existing path as a whole is that path, whatever ``@`` and ``+`` it holds.
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
    """(path, revision) of a text or of a mapping ``{path, revision}``."""
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
