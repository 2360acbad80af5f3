"""What is asked of an extraction, and what becomes of each parameter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from evomerge.errors import UserError, nearest
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.parameter_names import is_head, is_vocabulary

POLICIES = ("skip", "full", "lora")
# Their linear layers store weights as (in, out), and their files leave out the outer module's name.
_CONV1D = {"gpt2": "transformer."}


@dataclass(frozen=True)
class ExtractOptions:
    """How an adapter is extracted.

    Attributes:
        rank: of every layer, where neither ``energy`` nor ``parameters`` decides.
        energy: share of each layer's squared Frobenius norm to keep, in (0, 1].
        parameters: of all factors together, spread over the layers where they keep most energy.
        max_rank: no layer gets more; for ``energy`` and ``parameters``.
        svd: ``randomized`` (error within 1.01 of the best possible) or ``full``.
        embeddings: policy of embeddings and output head: ``skip``; ``lora``; ``full`` stores the whole matrix.
        norms: policy of norms and other vectors: ``skip`` or ``full``.
        biases: policy of linear layers' biases; ``lora`` stores them beside the factors, ``full`` the whole layer.
        added_tokens: policy of vocabulary rows that the base lacks: ``skip`` or ``full`` (the whole matrix).
        include, exclude: regular expressions on module paths; the adapter holds what one of ``include`` (when there
            are any) and none of ``exclude`` finds.
        distribute_scale: singular values are shared by both factors; otherwise all go to A.
        sv_epsilon: singular values up to this are dropped.
        correct_mean: one direction of each layer holds what the others leave of each row's mean.
        dtype: of the stored numbers.
        device: where the matrices are decomposed.
    """

    rank: int = 16
    energy: float | None = None
    parameters: int | None = None
    max_rank: int | None = None
    svd: str = "randomized"
    embeddings: str = "skip"
    norms: str = "skip"
    biases: str = "skip"
    added_tokens: str = "skip"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    distribute_scale: bool = True
    sv_epsilon: float = 0.0
    correct_mean: bool = False
    dtype: torch.dtype = torch.bfloat16
    device: str = "cpu"

    def __post_init__(self) -> None:
        self._check_ranks()
        if self.svd not in ("randomized", "full"):
            raise UserError(f"unknown svd '{self.svd}': {nearest(self.svd, ('randomized', 'full'))}")
        for key in ("embeddings", "norms", "biases", "added_tokens"):
            if getattr(self, key) not in POLICIES:
                raise UserError(f"unknown {key} '{getattr(self, key)}': {nearest(getattr(self, key), POLICIES)}")
        for key, what in (("norms", "vectors have no low rank"), ("added_tokens", "the base has no rows for them")):
            if getattr(self, key) == "lora":
                raise UserError(f"{key}=lora cannot be, {what}: wanted skip or full")
        for key in ("include", "exclude"):
            for pattern in getattr(self, key):
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise UserError(f"{key}: '{pattern}' is no regular expression ({error})") from error

    def _check_ranks(self) -> None:
        if self.energy is not None and self.parameters is not None:
            raise UserError("energy and parameters both decide the ranks: give one of them")
        if self.energy is not None and not 0.0 < self.energy <= 1.0:
            raise UserError(f"energy must be in (0, 1], got {self.energy:g}")
        for key in ("rank", "max_rank", "parameters"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"{key} must be at least 1, got {value}")
        if self.sv_epsilon < 0.0:
            raise UserError(f"sv_epsilon must not be negative, got {self.sv_epsilon:g}")


class Plan:
    """Names, paths and policies of one base's parameters.

    Raises:
        UserError: a policy that PEFT cannot express for this model.
    """

    def __init__(self, base: Checkpoint, modules: Mapping[str, str], options: ExtractOptions) -> None:
        self._base, self._known, self._options = base, modules, options
        kind = base.config.get("model_type")
        self.transposed = kind in _CONV1D
        self._outer = _CONV1D.get(str(kind), "")
        self.tied = bool(base.config.get("tie_word_embeddings"))
        if options.embeddings == "lora" and self.tied:
            raise UserError(
                "embeddings=lora: the embeddings are tied to the output head here, and PEFT applies such an adapter to "
                "one of them only, or twice when it is merged: wanted skip or full"
            )

    def module(self, name: str) -> str:
        """PEFT's path of the module that a parameter belongs to."""
        if name in self._known:
            return self._known[name]
        path = name.rpartition(".")[0]
        return path if path.startswith(self._outer) else self._outer + path

    def route(self, name: str) -> str:
        """``linear``, ``embedding``, ``bias``, ``whole`` or ``skip``."""
        options, shape = self._options, self._base.shape(name)
        if not self._wanted(self.module(name)):
            return "skip"
        if is_vocabulary(name):
            if options.embeddings != "lora" or len(shape) != 2:
                return "whole" if options.embeddings == "full" else "skip"
            return "linear" if is_head(name) else "embedding"
        if len(shape) == 2 and name.endswith(".weight"):
            return "linear"
        if len(shape) == 1 and name.endswith((".weight", ".bias")):
            weight = f"{name.rpartition('.')[0]}.weight"
            if name.endswith(".bias") and weight in self._base and len(self._base.shape(weight)) == 2:
                return "bias" if options.biases != "skip" else "skip"
            if options.norms == "skip":
                return "skip"
            return "bias" if name.endswith(".bias") and weight in self._base else "whole"
        return "skip"

    def in_base(self) -> list[str]:
        """Paths of all the base's modules that hold a matrix."""
        return [self.module(n) for n in self._base.names if n.endswith(".weight") and len(self._base.shape(n)) == 2]

    def described(self) -> dict[str, Any]:
        """The options as plain values."""
        values = {key: getattr(self._options, key) for key in self._options.__dataclass_fields__}
        return {**values, "dtype": str(self._options.dtype).removeprefix("torch.")}

    def _wanted(self, module: str) -> bool:
        include, exclude = self._options.include, self._options.exclude
        included = not include or any(re.search(pattern, module) for pattern in include)
        return included and not any(re.search(pattern, module) for pattern in exclude)
