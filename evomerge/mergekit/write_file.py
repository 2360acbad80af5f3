"""Write a recipe as mergekit YAML, for methods with the same mathematics in mergekit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from evomerge.errors import UserError
from evomerge.mergekit.mergekit_parameters import Spelling, spelled
from evomerge.mergekit.methods import METHODS as MERGEKIT
from evomerge.mergekit.read import parse
from evomerge.merging.registry import METHODS
from evomerge.types import Recipe

_RANDOM = frozenset({"dare_linear", "dare_ties", "della", "della_linear"})
_NOT_MERGEKITS = ("evomerge:", "pypi:")


def dump(recipe: Recipe, layers: int, folder_of: Callable[[str], str] = str) -> str:
    """mergekit YAML text of a recipe: the same weights for every parameter, float32 maths, the recipe's dtype.

    With several layer groups each run of layers becomes a slice; embeddings then go with the first slice and the final
    norm and output head with the last, as in evomerge. mergekit draws other random masks. If votes for a sign cancel
    exactly, mergekit elects +, and an evomerge recipe with ``average: count`` elects no sign.

    Args:
        recipe: recipe to write.
        layers: number of layers of the recipe's models.
        folder_of: function that gives the folder (or hub id) for a model name of the recipe; default: the name itself.
            A folder with an ``adapter_config.json`` becomes an adapter on the base.

    Raises:
        UserError: mergekit has no such method, no such option, or cannot read one of the models.
    """
    name = recipe.method
    if name not in MERGEKIT:
        raise UserError(f"mergekit has no method {name}: export the merged model, or use one of {', '.join(MERGEKIT)}")
    if recipe.modifiers:
        raise UserError(f"mergekit has no modifier {next(iter(recipe.modifiers))}: export the merged model instead")
    runs = _runs(recipe, layers)
    base = _model(folder_of(recipe.base))
    experts = [_expert(folder_of(recipe.base), folder_of(expert.source)) for expert in recipe.experts]
    pieces = [_spelled(recipe, group) for _, _, group in runs]
    with_base = MERGEKIT[name].base in ("required", "optional") or any(piece.base for piece in pieces)
    common = {
        key: value for key, value in pieces[0].shared.items() if all(piece.shared[key] == value for piece in pieces)
    }
    data: dict[str, Any] = {"merge_method": name}
    if MERGEKIT[name].base == "first":
        data["base_model"] = experts[0]
    elif with_base:
        data["base_model"] = base

    def inputs(piece: Spelling, more: Mapping[str, Any]) -> list[dict[str, Any]]:
        listed = [(model, given) for model, given in zip(experts, piece.experts, strict=True)]
        if with_base:
            absent = {"weight": 0.0} if MERGEKIT[name].base == "input" else {}
            listed.insert(0, (base, absent if piece.base is None else piece.base))
        return [{"model": model, **more} | ({"parameters": dict(given)} if given else {}) for model, given in listed]

    if len(runs) == 1:
        data["models"] = inputs(pieces[0], {})
    else:
        data["slices"] = []
        for (first, end, _), piece in zip(runs, pieces, strict=True):
            own = {key: value for key, value in piece.shared.items() if key not in common}
            entry: dict[str, Any] = {"sources": inputs(piece, {"layer_range": [first, end]})}
            data["slices"].append(entry | ({"parameters": own} if own else {}))
    data |= ({"parameters": common} if common else {}) | {"dtype": "float32", "out_dtype": recipe.dtype}
    text: str = _notes(recipe, experts) + yaml.dump(
        data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    parse(text, "the recipe as a mergekit file")  # raise an error for values that mergekit would refuse
    return text


class _Dumper(yaml.SafeDumper):
    """YAML writer that writes equal mappings twice, not as anchor and alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _spelled(recipe: Recipe, group: int) -> Spelling:
    method = METHODS[recipe.method]
    experts = len(recipe.experts)
    each: dict[str, Sequence[Any]] = {key: (v,) * experts for key, (_, v) in method.expert_parameters.items()}
    shared = {key: default for key, (_, default) in method.parameters.items()} | dict(recipe.parameters)
    each |= recipe.expert_parameters
    return spelled(recipe.method, recipe.weights[group], each, shared, method.is_relative(shared))


def _runs(recipe: Recipe, layers: int) -> list[tuple[int, int, int]]:
    """Runs of layers with equal weights, each as (first layer, end, layer group)."""
    groups = len(recipe.weights)
    found: list[tuple[int, int, int]] = []
    for layer in range(layers):
        group = layer * groups // layers
        if found and recipe.weights[found[-1][2]] == recipe.weights[group]:
            found[-1] = (found[-1][0], layer + 1, found[-1][2])
        else:
            found.append((layer, layer + 1, group))
    return found


def _expert(base: str, folder: str) -> Any:
    if os.path.exists(Path(folder) / "adapter_config.json"):
        return _model(base, folder)
    return _model(folder)


def _model(*paths: str) -> Any:
    """mergekit's name of a model, or of a model and an adapter.

    The name is a mapping if a local path contains ``+`` or ``@``, which mergekit would read as separators.
    """
    for path in paths:
        if path.startswith(_NOT_MERGEKITS):
            raise UserError(f"mergekit cannot read '{path}': give the folder it is kept in")
    if not any("+" in path or ("@" in path and os.path.exists(path)) for path in paths):
        return "+".join(paths)
    return {key: _parts(path) for key, path in zip(("model", "lora"), paths, strict=False)}


def _parts(path: str) -> dict[str, str]:
    if "@" in path and not os.path.exists(path):
        name, _, revision = path.partition("@")
        return {"path": name, "revision": revision}
    return {"path": path}


def _notes(recipe: Recipe, experts: Sequence[Any]) -> str:
    lines = []
    if any("+" in expert if isinstance(expert, str) else "lora" in expert for expert in experts):
        lines.append("# adapters: mergekit needs --lora-merge-cache DIR")
    if recipe.method in _RANDOM:
        lines.append("# random masks are mergekit's own: set --random-seed for the same file twice")
    return "".join(f"{line}\n" for line in lines)
