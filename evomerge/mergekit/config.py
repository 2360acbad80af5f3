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
    """A value for the tensors whose name contains ``filter``, or for all tensors if it is None or ``*``."""

    value: Scalar | Gradient
    filter: str | None = None

    def matches(self, tensor: str) -> bool:
        """Whether this entry applies to the tensor ``name``: whether the name contains the filter as plain text."""
        return self.filter is None or self.filter == "*" or self.filter in tensor


Setting: TypeAlias = Scalar | Gradient | tuple[Filtered, ...]
Parameters: TypeAlias = Mapping[str, Setting]


@dataclass(frozen=True)
class ModelRef:
    """A model, ``path[@revision][+lora[@revision]]``; equal references are the same input of a merge.

    Attributes:
        path: folder, single weight file, hub id, or the name of another document if ``step`` is true.
        revision: revision on the hub; None: the hub's default.
        lora: adapter to apply to the model, a folder or hub id.
        lora_revision: revision of the adapter.
        override_architecture: class name that replaces the one in the model's config.
        step: whether ``path`` names another document of the same file, and so the model of that merge.
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
    """A whole model as input, with its parameters."""

    model: ModelRef
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class InputSlice:
    """Layers ``layer_range[0]`` to ``layer_range[1] - 1`` of a model, with their parameters."""

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
        sources: sources in the file's order, all with the same number of layers.
        base_model: base of this slice; None: the base of the whole merge.
    """

    sources: tuple[InputSlice, ...]
    base_model: ModelRef | None = None
    parameters: Parameters = field(default_factory=dict)

    @property
    def layers(self) -> int:
        return self.sources[0].layers


@dataclass(frozen=True)
class Module:
    """A part of the architecture and its inputs, either ``models`` or ``slices``; the other is empty.

    ``name`` is None if the file does not divide the model into modules; the only module is then the whole model.
    """

    name: str | None
    models: tuple[InputModel, ...] = ()
    slices: tuple[OutputSlice, ...] = ()
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True)
class TokenSource:
    """Source of a token's row in the embeddings: a row of ``model``, or zeros if ``model`` is None.

    Attributes:
        model: model that gives the row.
        token: token of the source row; None: see ``token_id``.
        token_id: number of the source row; if ``token`` is None too, the row is that of the configured token itself.
    """

    model: ModelRef | None
    token: str | None = None
    token_id: int | None = None


@dataclass(frozen=True)
class TokenRow:
    """The file's entry for one token.

    Attributes:
        source: source of the row; None: as for any other token.
        force: whether ``source`` gives the row even to models that have the token.
    """

    source: TokenSource | None = None
    force: bool = False


@dataclass(frozen=True)
class Tokenizer:
    """The merged model's vocabulary.

    Attributes:
        source: ``"union"`` of all vocabularies, vocabulary of the ``"base"``, or of a model.
        tokens: entries for single tokens; the merge adds tokens that no vocabulary has.
        pad_to_multiple_of: number whose multiple the embeddings' number of rows is padded to.
    """

    source: str | ModelRef
    tokens: Mapping[str, TokenRow] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None


@dataclass(frozen=True)
class MergeConfig:
    """One document of a file, which describes one merge.

    Attributes:
        merge_method: mergekit's name of the method, one of :mod:`evomerge.mergekit.methods`.
        modules: parts of the model; one entry without a name if the file has ``models`` or ``slices``.
        base_model: base of all slices that name none.
        dtype: torch dtype name for the maths and, without ``out_dtype``, for the result; None: that of the inputs.
        out_dtype: torch dtype name for the result.
        tokenizer: output vocabulary; None: the merge copies the tokenizer of the base (or first model) and moves no
            row.
        chat_template: ``auto``, the name of a bundled template or a Jinja text.
        parameters: parameters for all modules and slices.
        name: name by which other documents of the file use the result.
        where: source file (and document), for errors.
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
        """Every model that the merge reads weights of, once each: the base first, the others in the file's order."""
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
