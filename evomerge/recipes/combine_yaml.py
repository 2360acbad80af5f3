"""Read a recipe that combines adapters into one adapter.

    combine: ties_svd              # a combination type of PEFT
    adapters:
      - {model: experts/sql, weight: 1.0}
      - {model: experts/code, weight: 0.5, name: python}
      - name: style                # instead of a model: a combination of its own, so that many adapters become one in
        weight: 0.3                # steps; there is no rounding in between
        model:
          combine: svd
          rank: 8
          adapters: [{model: experts/a, weight: 0.5}, {model: experts/b, weight: 0.5}]
    density: 0.5                   # share of the entries kept: the ties, dare and magnitude_prune types
    majority_sign: total           # or frequency: the ties types
    rank: 16                       # the svd types; default: the largest rank of the adapters
    base: org/name                 # default: the base that the adapters name
    seed: 0                        # of the dare types' masks
    dtype: float32                 # of the stored factors

What is left out has its default; density has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from evomerge.errors import UserError, nearest
from evomerge.recipes.yaml_files import located, parse_documents, read_documents
from evomerge.recipes.yaml_nodes import Node
from evomerge.types import DTYPES

TYPES = (
    "cat",
    "linear",
    "svd",
    "ties",
    "ties_svd",
    "dare_linear",
    "dare_linear_svd",
    "dare_ties",
    "dare_ties_svd",
    "magnitude_prune",
    "magnitude_prune_svd",
)
_INNER_KEYS = ("combine", "adapters", "density", "majority_sign", "rank")
_KEYS = (*_INNER_KEYS, "base", "seed", "dtype")
_Majority = Literal["total", "frequency"]


@dataclass(frozen=True)
class AdapterEntry:
    """One adapter of a combination: ``model`` is a folder or hub id, or a combination of its own."""

    name: str
    model: str | Combination
    weight: float


@dataclass(frozen=True)
class Combination:
    """Adapters and how they become one.

    Attributes:
        combine: one of ``TYPES``.
        adapters: at least one, with different names.
        density: share of entries that pruning keeps, in (0, 1]; None for types that do not prune.
        majority_sign: what elects the sign: the sum of the entries, or how many have it.
        rank: of the result of the svd types; None: the largest rank of the adapters.
    """

    combine: str
    adapters: tuple[AdapterEntry, ...]
    density: float | None = None
    majority_sign: _Majority = "total"
    rank: int | None = None

    @property
    def prunes(self) -> Literal["magnitude", "random"] | None:
        """Which entries go."""
        if self.combine.startswith("dare"):
            return "random"
        return "magnitude" if self.combine.startswith(("ties", "magnitude")) else None

    @property
    def elects(self) -> bool:
        """Whether signs are elected."""
        return "ties" in self.combine

    @property
    def truncates(self) -> bool:
        """Whether the result is an update truncated to a rank."""
        return self.combine.endswith("svd")

    @property
    def needs_equal_ranks(self) -> bool:
        """Whether the factors themselves are added up."""
        return not self.truncates and self.combine != "cat"

    @property
    def models(self) -> tuple[str, ...]:
        """Every adapter that is read, those of inner combinations included, each once."""
        found: list[str] = []
        for entry in self.adapters:
            found += entry.model.models if isinstance(entry.model, Combination) else [entry.model]
        return tuple(dict.fromkeys(found))


@dataclass(frozen=True)
class CombineRecipe:
    """A combination, and how its result is stored.

    Attributes:
        base: model name of the base; None: the one that the adapters name.
        dtype: of the stored factors, a torch dtype name.
    """

    combination: Combination
    base: str | None = None
    seed: int = 0
    dtype: str = "float32"


def is_combination(path: str | Path) -> bool:
    """Whether a file is YAML with the key ``combine``; anything else, also an unreadable file, is not."""
    try:
        return any(isinstance(document, dict) and "combine" in document for document in read_documents(path))
    except UserError:
        return False


def load(path: str | Path) -> CombineRecipe:
    """The combination in a YAML file. Relative adapter paths are looked up in the file's folder, then in the working
    directory.

    Raises:
        UserError: the file is missing, is not YAML or not a valid combination; names file and key.
    """
    return _recipe(read_documents(path), str(path), Path(path).parent)


def parse(text: str, where: str = "recipe", folder: Path | None = None) -> CombineRecipe:
    """The combination in a YAML text; ``where``: what errors call it; ``folder``: where relative paths start."""
    return _recipe(parse_documents(text, where), where, folder)


def _recipe(documents: list[object], where: str, folder: Path | None) -> CombineRecipe:
    if len(documents) != 1:
        raise UserError(
            f"a combination is one YAML document, got {len(documents)} ({where}): to combine in steps, give a "
            "combination in the place of a model"
        )
    node = Node(documents[0], where).mapping(_KEYS, ("combine", "adapters"), "a combination")
    dtype = node["dtype"].optional_text() or "float32"
    if dtype not in DTYPES:
        node["dtype"].refuse(f"unknown dtype '{dtype}': {nearest(dtype, DTYPES)}")
    base = node["base"].optional_text()
    return CombineRecipe(
        _combination(node, folder, ""),
        None if base is None else located(base, folder),
        node["seed"].whole() if "seed" in node else 0,
        dtype,
    )


def _combination(node: Node, folder: Path | None, prefix: str) -> Combination:
    kind = node["combine"].text()
    if kind not in TYPES:
        node["combine"].refuse(f"unknown combination type '{kind}': {nearest(kind, TYPES)}")
    entries = tuple(_entry(entry, folder, prefix) for entry in node["adapters"].items())
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            node["adapters"].refuse(f"adapters need different names, '{name}' is there twice: give each its name")
    found = Combination(
        kind,
        entries,
        node["density"].number() if "density" in node else None,
        cast(_Majority, node["majority_sign"].optional_text() or "total"),
        node["rank"].whole() if "rank" in node else None,
    )
    _check(found, node)
    return found


def _check(found: Combination, node: Node) -> None:
    for key, used in (("density", found.prunes), ("majority_sign", found.elects), ("rank", found.truncates)):
        if key in node and not used:
            node[key].refuse(f"{found.combine} does not use {key}: leave it out")
    if found.prunes and found.density is None:
        node.refuse(f"{found.combine} needs the key 'density', the share of the entries to keep, in (0, 1]")
    if found.density is not None and not 0.0 < found.density <= 1.0:
        node["density"].refuse(f"density must be in (0, 1], got {found.density:g}")
    if found.majority_sign not in ("total", "frequency"):
        node["majority_sign"].refuse(f"majority_sign must be total or frequency, got '{found.majority_sign}'")
    if found.rank is not None and found.rank < 1:
        node["rank"].refuse(f"rank must be at least 1, got {found.rank}")


def _entry(node: Node, folder: Path | None, prefix: str) -> AdapterEntry:
    node.mapping(("name", "model", "weight"), ("model", "weight"), "an adapter")
    model, name = node["model"], node["name"].optional_text()
    weight = node["weight"].number()
    if isinstance(model.value, dict):
        if name is None:
            node.refuse("a combination in the place of a model needs the key 'name'")
        inner = model.mapping(_INNER_KEYS, ("combine", "adapters"), "an inner combination")
        # random masks depend on names: equal names in two inner combinations must not mean equal masks
        return AdapterEntry(prefix + name, _combination(inner, folder, f"{prefix}{name}/"), weight)
    path = model.text()
    return AdapterEntry(prefix + (name or Path(path.rstrip("/")).name), located(path, folder), weight)
