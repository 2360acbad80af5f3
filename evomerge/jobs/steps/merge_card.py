"""Write the model card of ``job=merge``: recipe and parents. Nothing was measured, so it has no scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evomerge.files.small_files import write_text
from evomerge.hub.model_card_facts import Parent, read_parent, read_parents
from evomerge.mergekit import MergeConfig
from evomerge.report.model_card import CardValues, model_card, public_recipe
from evomerge.types import Expert, Recipe

_ORIGIN = "Made by `python -m evomerge job=merge`."


def write_card(text: str, out: Path) -> None:
    """``README.md`` in the folder ``out``; a single file of weights gets none."""
    if out.is_dir():
        write_text(out / "README.md", text)


def recipe_card(recipe: Recipe, out: str) -> str:
    """Card of a merge by a recipe of evomerge."""
    base, experts = read_parents(recipe.base, recipe.experts)
    return _card(out, base, experts, recipe.method, public_recipe(recipe, base, experts))


def mergekit_card(documents: Sequence[MergeConfig], file: str, out: str) -> str:
    """Card of a merge by a mergekit file. Parents are the models and adapters of all its documents."""
    last = documents[-1]
    base_model = None if last.base_model is None or last.base_model.step else last.base_model
    models = [model for document in documents for model in document.models if not model.step]
    sources = [_source(m.path, m.revision) for m in models if m != base_model]
    sources += [_source(m.lora, m.lora_revision) for m in models if m.lora]
    named = [Expert(f"model {place + 1}", source) for place, source in enumerate(dict.fromkeys(sources))]
    base: Parent | None = None
    if base_model is None:
        parents = tuple(read_parent(expert.name, expert.source) for expert in named)
    else:
        base, parents = read_parents(_source(base_model.path, base_model.revision), named)
    text = Path(file).read_text(encoding="utf-8")
    for parent in parents if base is None else (base, *parents):
        if Path(parent.source).is_absolute():
            text = text.replace(parent.source, parent.public_name)
    return _card(out, base, parents, last.merge_method, text)


def _source(path: str, revision: str | None) -> str:
    return f"{path}@{revision}" if revision else path


def _card(out: str, base: Parent | None, experts: tuple[Parent, ...], method: str, recipe: str) -> str:
    return model_card(CardValues(Path(out).name, out, base, experts, method, recipe, _ORIGIN))
