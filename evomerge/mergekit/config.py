"""Values of a mergekit file (0.1.5), under mergekit's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Scalar: TypeAlias = bool | int | float | str
Gradient: TypeAlias = tuple[Scalar, ...]
"""Anchors spread evenly over the layers of a slice."""


@dataclass(frozen=True)
class Filtered:
    """A value for the tensors whose name contains ``filter``; for all of them when it is None or ``*``."""

    value: Scalar | Gradient
    filter: str | None = None

    def matches(self, tensor: str) -> bool:
        """Whether this entry applies to the tensor of that name; a plain substring decides, not a pattern."""
        return self.filter is None or self.filter == "*" or self.filter in tensor


Setting: TypeAlias = Scalar | Gradient | tuple[Filtered, ...]
Parameters: TypeAlias = Mapping[str, Setting]


@dataclass(frozen=True)
class ModelRef:
    """A model, ``path[@revision][+lora[@revision]]``; equal references are the same input of a merge.

    Attributes:
        path: folder, single weight file, hub id, or the name of another document when ``step`` is true.
        revision: of the hub; None for its default.
        lora: an adapter to put on the model, a folder or hub id.
        lora_revision: of the adapter.
        override_architecture: class name that replaces the one in the model's config.
        step: ``path`` is the name of another document of the same file: the model that document merges.
    """

    path: str
    revision: str | None = None
    lora: str | None = None
    lora_revision: str | None = None
    override_architecture: str | None = None
    step: bool = False

    def __str__(self) -> str:
        text = f"{self.path}@{self.revision}" if self.revision else self.path
        if self.lora is None:
            return text
        return f"{text}+{self.lora}@{self.lora_revision}" if self.lora_revision else f"{text}+{self.lora}"


@dataclass(frozen=True)
class InputModel:
    """A whole model as input, with parameters of its own."""

    model: ModelRef
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class InputSlice:
    """Layers ``layer_range[0]`` to ``layer_range[1] - 1`` of a model, with parameters of their own."""

    model: ModelRef
    layer_range: tuple[int, int]
    parameters: Parameters = field(default_factory=dict)

    @property
    def layers(self) -> int:
        return self.layer_range[1] - self.layer_range[0]


@dataclass(frozen=True)
class OutputSlice:
    """A run of layers of the merged model: layer i of it merges layer i of every source.

    Attributes:
        sources: in the file's order, all of the same number of layers.
        base_model: the base of this slice; None: that of the whole merge.
    """

    sources: tuple[InputSlice, ...]
    base_model: ModelRef | None = None
    parameters: Parameters = field(default_factory=dict)

    @property
    def layers(self) -> int:
        return self.sources[0].layers


@dataclass(frozen=True)
class Module:
    """A part of the architecture and what it is merged from: either ``models`` or ``slices``, the other is empty.

    ``name`` is None when the file does not divide the model into modules; the one module is then the whole model.
    """

    name: str | None
    models: tuple[InputModel, ...] = ()
    slices: tuple[OutputSlice, ...] = ()
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class TokenSource:
    """Where a token's row of the embeddings comes from: a row of ``model``, or zeros when ``model`` is None.

    Attributes:
        model: the model that gives the row.
        token: the token whose row it is; None: see ``token_id``.
        token_id: number of the row; None with ``token`` None: the row of the configured token itself.
    """

    model: ModelRef | None
    token: str | None = None
    token_id: int | None = None


@dataclass(frozen=True)
class TokenRow:
    """What the file says of one token.

    Attributes:
        source: None: as for any other token.
        force: ``source`` gives the row even in models that have the token.
    """

    source: TokenSource | None = None
    force: bool = False


@dataclass(frozen=True)
class Tokenizer:
    """The merged model's vocabulary.

    Attributes:
        source: ``"union"`` of all vocabularies, that of the ``"base"``, or that of a model.
        tokens: rows asked for by name; a token that no vocabulary has is added.
        pad_to_multiple_of: the embeddings are padded to a multiple of this many rows.
    """

    source: str | ModelRef
    tokens: Mapping[str, TokenRow] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None


@dataclass(frozen=True)
class MergeConfig:
    """One document: one merge.

    Attributes:
        merge_method: mergekit's name, known to :mod:`evomerge.mergekit.methods`.
        modules: one entry without a name for a file with ``models`` or ``slices``.
        base_model: the base of all slices that do not name their own.
        dtype: of the maths and, without ``out_dtype``, of the result, a torch dtype name; None: the inputs' own.
        out_dtype: of the result.
        tokenizer: None: the base's tokenizer (or the first model's) is copied and no row is moved.
        chat_template: ``auto``, the name of a bundled template or a Jinja text.
        parameters: for all modules and slices.
        name: by which other documents of the file use the result.
        where: the file (and document) it was read from, for errors.
    """

    merge_method: str
    modules: tuple[Module, ...]
    base_model: ModelRef | None = None
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer: Tokenizer | None = None
    chat_template: str | None = None
    parameters: Parameters = field(default_factory=dict)
    name: str | None = None
    where: str = "mergekit file"

    @property
    def models(self) -> tuple[ModelRef, ...]:
        """Every model whose weights the merge reads, each once: the base first, then in the file's order."""
        found = [self.base_model] if self.base_model else []
        for module in self.modules:
            found += [source.model for source in module.models]
            for piece in module.slices:
                found += [piece.base_model] if piece.base_model else []
                found += [source.model for source in piece.sources]
        return tuple(dict.fromkeys(found))

    @property
    def steps(self) -> frozenset[str]:
        """Names of the documents whose results this merge needs."""
        tokens = self.tokenizer.tokens.values() if self.tokenizer else ()
        named = [row.source.model for row in tokens if row.source and row.source.model]
        if self.tokenizer and isinstance(self.tokenizer.source, ModelRef):
            named.append(self.tokenizer.source)
        return frozenset(model.path for model in (*self.models, *named) if model.step)
