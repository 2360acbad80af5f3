"""Read mergekit YAML as mergekit 0.1.5 does, but refuse keys that mergekit silently ignores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from evomerge.errors import UserError, nearest
from evomerge.mergekit.check import check
from evomerge.mergekit.config import (
    Filtered,
    Gradient,
    InputModel,
    InputSlice,
    MergeConfig,
    ModelRef,
    Module,
    OutputSlice,
    Parameters,
    Scalar,
    Setting,
    Tokenizer,
    TokenRow,
    TokenSource,
)
from evomerge.mergekit.references import Surroundings, model_ref
from evomerge.recipes.yaml_files import parse_documents, read_documents
from evomerge.recipes.yaml_nodes import Node
from evomerge.weights.tokenizers.chat_templates import CHAT_TEMPLATES

_KEYS = (
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer_source",
    "tokenizer",
    "chat_template",
    "name",
)
MERGEKIT_DTYPES = ("bfloat16", "float16", "float32", "float64")


def is_mergekit(path: str | Path) -> bool:
    """Whether a file is YAML with mergekit's key ``merge_method``; False also for unreadable files."""
    try:
        documents = read_documents(path)
    except UserError:
        return False
    return any(isinstance(document, dict) and "merge_method" in document for document in documents)


def load(path: str | Path) -> tuple[MergeConfig, ...]:
    """Read the merges of a mergekit YAML file, in an order in which they can run; the last one gives the result.

    Relative model paths start from the file's folder or, if missing there, from the working directory. Documents can
    use the results of documents with a ``name`` as models (mergekit-multi).

    Raises:
        UserError: the file is missing, not YAML, or no merge that can work; the error names file and key.
    """
    return _configs(read_documents(path), str(path), Path(path).parent)


def parse(text: str, where: str = "mergekit file", folder: Path | None = None) -> tuple[MergeConfig, ...]:
    """Read the merges of a YAML text, as :func:`load` does.

    Args:
        text: YAML text.
        where: name of the text in errors.
        folder: folder that relative model paths start from.
    """
    return _configs(parse_documents(text, where), where, folder)


def _configs(documents: Sequence[Any], where: str, folder: Path | None) -> tuple[MergeConfig, ...]:
    if not documents:
        raise UserError(f"a mergekit file needs at least the keys merge_method and models, got nothing ({where})")
    labels = [where if len(documents) == 1 else f"{where}, document {n + 1}" for n in range(len(documents))]
    nodes = [
        Node(document, label).mapping(_KEYS, ("merge_method",), "a merge")
        for document, label in zip(documents, labels, strict=True)
    ]
    names = [node["name"].optional_text() for node in nodes]
    for node, name in zip(nodes, names, strict=True):
        if names.count(name) > 1:
            called = f"the name '{name}' is given" if name is not None else "no name is given"
            node["name"].refuse(f"documents need different names (one may have none), but {called} more than once")
    around = Surroundings(folder, frozenset(name for name in names if name is not None))
    return _in_running_order([check(_merge(node, around)) for node in nodes])


def _merge(node: Node, around: Surroundings) -> MergeConfig:
    given = [key for key in ("models", "slices", "modules") if key in node]
    if len(given) != 1:
        node.refuse(f"exactly one of models, slices and modules must be given, got {' and '.join(given) or 'none'}")
    if given == ["modules"]:
        modules = [_module(entry, name, around) for name, entry in node["modules"].entries()]
        if not modules:
            node["modules"].refuse("modules must name at least one module, got an empty mapping")
    else:
        modules = [Module(None, _models(node["models"], around), _slices(node["slices"], around))]
    return MergeConfig(
        merge_method=node["merge_method"].text(),
        modules=tuple(modules),
        base_model=_optional_model(node["base_model"], around),
        dtype=_dtype(node["dtype"]),
        out_dtype=_dtype(node["out_dtype"]),
        tokenizer=_tokenizer(node, around),
        chat_template=_chat_template(node["chat_template"]),
        parameters=_parameters(node["parameters"]),
        name=node["name"].optional_text(),
        where=node.file,
    )


def _module(node: Node, name: str, around: Surroundings) -> Module:
    node.mapping(("models", "slices", "parameters"), (), "a module")
    if ("models" in node) == ("slices" in node):
        node.refuse("exactly one of models and slices must be given in a module")
    models, slices = _models(node["models"], around), _slices(node["slices"], around)
    return Module(name, models, slices, _parameters(node["parameters"]))


def _models(node: Node, around: Surroundings) -> tuple[InputModel, ...]:
    if node.value is None:
        return ()
    found = []
    for entry in node.items():
        entry.mapping(("model", "parameters"), ("model",), "an entry of models")
        found.append(InputModel(model_ref(entry["model"], around), _parameters(entry["parameters"])))
    return tuple(found)


def _slices(node: Node, around: Surroundings) -> tuple[OutputSlice, ...]:
    if node.value is None:
        return ()
    found = []
    for entry in node.items():
        # mergekit's schema accepts residual_weight, a leftover that mergekit never reads
        entry.mapping(("sources", "base_model", "parameters", "residual_weight"), ("sources",), "a slice")
        sources = tuple(_source(source, around) for source in entry["sources"].items())
        base = _optional_model(entry["base_model"], around)
        found.append(OutputSlice(sources, base, _parameters(entry["parameters"])))
    return tuple(found)


def _source(node: Node, around: Surroundings) -> InputSlice:
    node.mapping(("model", "layer_range", "parameters"), ("model", "layer_range"), "a source of a slice")
    layers = node["layer_range"]
    if not isinstance(layers.value, list) or len(layers.value) != 2:
        layers.refuse(f"layer_range must be [first, end], got {layers.kind}")
    first, end = (bound.whole() for bound in layers.items())
    if not 0 <= first < end:
        layers.refuse(f"layer_range must be [first, end] with 0 <= first < end, got [{first}, {end}]")
    return InputSlice(model_ref(node["model"], around), (first, end), _parameters(node["parameters"]))


def _parameters(node: Node) -> Parameters:
    return {name: _setting(entry) for name, entry in node.entries()}


def _setting(node: Node) -> Setting:
    if isinstance(node.value, dict):
        return (_filtered(node),)
    if isinstance(node.value, list) and any(isinstance(value, dict) for value in node.value):
        return tuple(_filtered(entry) for entry in node.items())
    return _value(node)


def _filtered(node: Node) -> Filtered:
    node.mapping(("value", "filter"), ("value",), "a conditional value")
    return Filtered(_value(node["value"]), node["filter"].optional_text())


def _value(node: Node) -> Scalar | Gradient:
    if _is_scalar(node.value):
        return node.value
    if isinstance(node.value, list) and all(_is_scalar(value) for value in node.value):
        return tuple(node.value)
    node.refuse(
        f"a parameter is a value, a list of values (a gradient) or a list of {{filter, value}}, got {node.kind}"
    )


def _is_scalar(value: Any) -> TypeGuard[Scalar]:
    return isinstance(value, (bool, int, float, str))


def _optional_model(node: Node, around: Surroundings) -> ModelRef | None:
    return None if node.value is None else model_ref(node, around)


def _dtype(node: Node) -> str | None:
    text = node.optional_text()
    if text is None:
        return None
    name = text.removeprefix("torch.")
    if name not in MERGEKIT_DTYPES:
        node.refuse(f"unknown dtype '{text}': {nearest(name, MERGEKIT_DTYPES)}")
    return name


def _chat_template(node: Node) -> str | None:
    text = node.optional_text()
    if text is None or text == "auto" or text in CHAT_TEMPLATES or "{" in text:
        return text
    node.refuse(f"chat_template must be auto, a known name or a Jinja text: {nearest(text, CHAT_TEMPLATES)}")


def _tokenizer(document: Node, around: Surroundings) -> Tokenizer | None:
    if "tokenizer" not in document:
        node = document["tokenizer_source"]
        return None if node.value is None else Tokenizer(_vocabulary(node, around))
    if "tokenizer_source" in document:
        document.refuse("tokenizer and tokenizer_source say the same: give one of them")
    node = document["tokenizer"].mapping(("source", "tokens", "pad_to_multiple_of"), (), "tokenizer")
    multiple = node["pad_to_multiple_of"].whole() if "pad_to_multiple_of" in node else None
    if multiple is not None and multiple < 1:
        node["pad_to_multiple_of"].refuse(f"pad_to_multiple_of must be at least 1, got {multiple}")
    return Tokenizer(
        source=_vocabulary(node["source"], around) if "source" in node else "union",
        tokens={token: _token(entry, around) for token, entry in node["tokens"].entries()},
        pad_to_multiple_of=multiple,
    )


def _vocabulary(node: Node, around: Surroundings) -> str | ModelRef:
    return str(node.value) if node.value in ("union", "base") else model_ref(node, around)


def _token(node: Node, around: Surroundings) -> TokenRow:
    node.mapping(("source", "force"), (), "a token")
    force = node["force"].switch() if "force" in node else False
    source = node["source"]
    if source.value is None:
        return TokenRow(None, force)
    if not isinstance(source.value, dict) or "kind" not in source:
        return TokenRow(TokenSource(model_ref(source, around)), force)
    kind = source["kind"].text()
    if kind == "zero":
        source.mapping(("kind",))
        return TokenRow(TokenSource(None), force)
    if kind != "model_token":
        source["kind"].refuse(f"unknown kind '{kind}': {nearest(kind, ('zero', 'model_token'))}")
    source.mapping(("kind", "model", "token", "token_id"), ("model",), "a model_token")
    if ("token" in source) == ("token_id" in source):
        source.refuse("exactly one of token and token_id must be given for a model_token")
    token_id = source["token_id"].whole() if "token_id" in source else None
    return TokenRow(TokenSource(model_ref(source["model"], around), source["token"].optional_text(), token_id), force)


def _in_running_order(configs: Sequence[MergeConfig]) -> tuple[MergeConfig, ...]:
    """Order merges by the results that they use, the one without a name last; otherwise keep the file's order."""
    by_name = {config.name: config for config in configs if config.name is not None}
    ordered: list[MergeConfig] = []

    def place(config: MergeConfig, chain: tuple[str, ...]) -> None:
        if config in ordered:
            return
        for step in sorted(config.steps, key=list(by_name).index):
            if step in chain:
                raise UserError(
                    f"merges cannot wait for each other, but {' -> '.join((*chain, step))}: give one of them another"
                    f" model ({config.where})"
                )
            place(by_name[step], (*chain, step))
        ordered.append(config)

    for config in sorted(configs, key=lambda config: config.name is None):
        place(config, (config.name,) if config.name is not None else ())
    return tuple(ordered)
