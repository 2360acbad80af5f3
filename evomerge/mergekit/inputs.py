"""Open the models of a mergekit merge: checkpoints, adapters on checkpoints, results of earlier documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from evomerge.errors import UserError
from evomerge.mergekit import ModelRef
from evomerge.tensors.lazy import LazyMatrix, dense
from evomerge.weights.checkpoint import Checkpoint, Stored
from evomerge.weights.parameter_names import HEAD, is_token_embedding, layer_index
from evomerge.weights.quantized import plain_checkpoint
from evomerge.weights.sources import resolve_weights
from evomerge.weights.task_vector import TaskVector, open_task_vector


@dataclass(frozen=True)
class InputWeights:
    """One input model of a merge.

    Attributes:
        ref: reference to the model in the file.
        checkpoint: weights of the model, without the adapter.
        adapter: adapter on top of the weights.
    """

    ref: ModelRef
    checkpoint: Checkpoint
    adapter: TaskVector | None = None

    @cached_property
    def layers(self) -> int:
        """Number of layers; 0 for a raw file of weights."""
        if self.checkpoint.raw:
            return 0
        indices = [index for name in self.checkpoint.names if (index := layer_index(name)) is not None]
        return max(indices) + 1 if indices else 0

    @property
    def tied(self) -> bool:
        """Whether the embedding serves as output head."""
        return bool(self.checkpoint.config.get("tie_word_embeddings")) and HEAD not in self.checkpoint

    def stored(self, name: str) -> str | None:
        """The name under which this model has the parameter; a tied output head is the embedding."""
        if name in self.checkpoint:
            return name
        if name == HEAD and self.tied:
            return next((own for own in self.checkpoint.names if is_token_embedding(own)), None)
        return None

    def rows(self, name: str, wanted_by: str) -> LazyMatrix:
        """A parameter of this model.

        Raises:
            UserError: the model does not have it.
        """
        own = self.stored(name)
        if own is None:
            raise UserError(
                f"{self.ref} has no tensor '{name}', which the merge needs ({wanted_by}): "
                "merge models of one architecture"
            )
        return Stored(self.checkpoint, own) if self.adapter is None else self.adapter.model(own)


def open_inputs(models: tuple[ModelRef, ...], steps: Mapping[str, Path]) -> dict[ModelRef, InputWeights]:
    """Open the weights of every model of a merge, each file once.

    Args:
        models: references to the models in the file.
        steps: folders with the results of earlier documents, by name.

    Raises:
        UserError: a model or adapter is missing, or does not fit.
    """
    checkpoints: dict[Path, Checkpoint] = {}
    inputs = {}
    for ref in models:
        path = steps[ref.path] if ref.step else resolve_weights(_pinned(ref.path, ref.revision))
        checkpoint = checkpoints.setdefault(path, plain_checkpoint(path))
        adapter = open_task_vector(checkpoint, _pinned(ref.lora, ref.lora_revision)) if ref.lora else None
        inputs[ref] = InputWeights(ref, checkpoint, adapter)
    raw = [model.checkpoint.raw for model in inputs.values()]
    if any(raw) and not all(raw):
        folder = next(ref for ref, model in inputs.items() if not model.checkpoint.raw)
        raise UserError(
            f"raw files of weights merge with raw files only, got the model folder {folder}: give its weight file"
        )
    return inputs


def same_values(rows: list[LazyMatrix], name: str) -> LazyMatrix:
    """Return the common value of several models' integer or boolean parameters.

    Raises:
        UserError: the parameters differ.
    """
    first = rows[0]
    for other in rows[1:]:
        if other.shape != first.shape or not torch.equal(dense(other), dense(first)):
            raise UserError(
                f"'{name}' holds {first.dtype} values that differ between the models and cannot be averaged: "
                "merge models with equal values"
            )
    return first


def _pinned(path: str, revision: str | None) -> str:
    return f"{path}@{revision}" if revision else path
