"""Build the output vocabulary of a mergekit merge, and reorder its models' embeddings to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evomerge.errors import UserError
from evomerge.mergekit import MergeConfig, ModelRef, TokenRow
from evomerge.mergekit.inputs import InputWeights
from evomerge.tensors.lazy import LazyMatrix
from evomerge.weights.parameter_names import is_head, is_token_embedding
from evomerge.weights.tokenizers import vocabulary
from evomerge.weights.tokenizers.output_tokenizer import (
    InputModel,
    OutputTokenizer,
    TokenizerSettings,
    build_tokenizer,
)


@dataclass(frozen=True)
class VocabularyPlan:
    """The output tokenizer of a merge, and the model that it comes from."""

    tokenizer: OutputTokenizer
    origin: InputWeights

    @classmethod
    def build(cls, config: MergeConfig, inputs: Mapping[ModelRef, InputWeights]) -> VocabularyPlan:
        """Build the tokenizer of ``config`` from the vocabularies of its models.

        Raises:
            UserError: a model has no embedding or no tokenizer.
        """
        assert config.tokenizer is not None
        models = {}
        for ref, model in inputs.items():
            embedding = next((name for name in model.checkpoint.names if is_token_embedding(name)), None)
            if embedding is None:
                raise UserError(f"{ref} has no token embedding: remove the tokenizer section ({config.where})")
            models[str(ref)] = InputModel(model.checkpoint.folder, model.checkpoint.shape(embedding)[0])
        settings = TokenizerSettings(
            source=str(config.tokenizer.source),
            tokens={token: _row(row) for token, row in config.tokenizer.tokens.items()},
            pad_to_multiple_of=config.tokenizer.pad_to_multiple_of,
            chat_template=config.chat_template,
        )
        base = str(config.base_model) if config.base_model in inputs else None
        tokenizer = build_tokenizer(settings, models, base)
        return cls(tokenizer, next(model for ref, model in inputs.items() if str(ref) == tokenizer.origin))

    def moves(self, name: str) -> bool:
        """Whether this parameter has one row per token."""
        return is_token_embedding(name) or is_head(name)

    def permuted(self, models: Sequence[InputWeights], rows: Sequence[LazyMatrix]) -> list[LazyMatrix]:
        """The models' embeddings (or output heads) with rows in the order of the output vocabulary."""
        sources = {str(model.ref): own for model, own in zip(models, rows, strict=True)}
        alignment = self.tokenizer.align(tuple(sources))
        moved = vocabulary.permuted(alignment, sources)
        return [
            sources[name] if alignment.is_identity(name) and sources[name].shape[0] == alignment.rows else moved[name]
            for name in (str(model.ref) for model in models)
        ]


def _row(row: TokenRow) -> vocabulary.TokenRow:
    if row.source is None:
        return vocabulary.TokenRow(force=row.force)
    if row.source.model is None:
        return vocabulary.TokenRow("zero", force=row.force)
    token = row.source.token if row.source.token is not None else row.source.token_id
    return vocabulary.TokenRow("model", str(row.source.model), token, row.force)
