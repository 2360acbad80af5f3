"""Open the models of a mergekit merge: checkpoints, adapters on checkpoints, results of earlier documents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from evomerge.engine.dense.rows import AdaptedRows, CheckpointRows, DeltaRows, Rows
from evomerge.errors import UserError
from evomerge.mergekit import ModelRef
from evomerge.weights.adapters.adapter import LowRank
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.parameter_names import HEAD, is_token_embedding, layer_index
from evomerge.weights.quantized import plain_checkpoint
from evomerge.weights.sources import resolve_weights
from evomerge.weights.task_vector import TaskVector, open_task_vector


@dataclass(frozen=True)
class InputWeights:
    """One model that a merge reads.

    Attributes:
        ref: as the file names it.
        checkpoint: its weights, without the adapter.
        adapter: on top of them.
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
        """Whether the output head is the embedding."""
        return bool(self.checkpoint.config.get("tie_word_embeddings")) and HEAD not in self.checkpoint

    def stored(self, name: str) -> str | None:
        """The name under which this model has the parameter; a tied output head is the embedding."""
        if name in self.checkpoint:
            return name
        if name == HEAD and self.tied:
            return next((own for own in self.checkpoint.names if is_token_embedding(own)), None)
        return None

    def rows(self, name: str, wanted_by: str) -> Rows:
        """A parameter.

        Raises:
            UserError: the model does not have it.
        """
        own = self.stored(name)
        if own is None:
            raise UserError(
                f"{self.ref} has no tensor '{name}', which the merge needs ({wanted_by}): "
                "merge models of one architecture"
            )
        under = CheckpointRows(self.checkpoint, own)
        if self.adapter is None or own not in self.adapter.names:
            return under
        factor = self.adapter.low_rank(own)
        return AdaptedRows(under, factor) if factor is not None else DeltaRows(under, self.adapter, own)

    def factor_on(self, base: InputWeights, name: str) -> LowRank | None:
        """The factors of this model's difference to ``base``, when it is just a LoRA on that very model."""
        if self.adapter is None or base.adapter is not None or self.checkpoint is not base.checkpoint:
            return None
        return self.adapter.low_rank(name) if name in self.adapter.names else None


def open_inputs(models: tuple[ModelRef, ...], steps: Mapping[str, Path]) -> dict[ModelRef, InputWeights]:
    """The weights of every model of a merge, each file opened once.

    Args:
        models: as the file names them.
        steps: folders of earlier documents' results by name.

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


def same_values(rows: list[Rows], name: str) -> Rows:
    """One of several integer or boolean parameters that must be equal.

    Raises:
        UserError: they differ.
    """
    first = rows[0]
    for other in rows[1:]:
        if other.shape != first.shape or not torch.equal(_all(other), _all(first)):
            raise UserError(
                f"'{name}' holds {first.dtype} values that differ between the models, and no mean of them: "
                "merge models that share them"
            )
    return first


def _all(rows: Rows) -> torch.Tensor:
    return rows.rows(0, rows.shape[0] if rows.shape else 1)


def _pinned(path: str, revision: str | None) -> str:
    return f"{path}@{revision}" if revision else path
