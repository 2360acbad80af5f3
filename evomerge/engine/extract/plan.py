"""Options of an extraction, and the way of each parameter into the adapter."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import torch

from evomerge.engine.extract.settings import SVDS, ExtractSettings
from evomerge.errors import UserError, nearest
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.parameter_names import is_head, is_vocabulary

# Model types whose linear layers store weights as (in, out), and whose files omit the outer module's name.
_CONV1D = {"gpt2": "transformer."}


@dataclass(frozen=True)
class ExtractOptions:
    """How an adapter is extracted.

    Attributes:
        rank: rank of every layer, unless ``energy`` or ``parameters`` decides.
        energy: fraction of each layer's squared Frobenius norm to keep, in (0, 1].
        parameters: number of parameters of all factors together, spread over the layers so as to keep most energy.
        svd: kind of decomposition, ``randomized`` (error within 1.01 of the best possible) or ``full``.
        settings: settings of the adapter's content.
        dtype: dtype of the stored numbers.
        device: device of the decompositions.
    """

    rank: int = 16
    energy: float | None = None
    parameters: int | None = None
    svd: str = "randomized"
    settings: ExtractSettings = field(default_factory=ExtractSettings)
    dtype: torch.dtype = torch.bfloat16
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.energy is not None and self.parameters is not None:
            raise UserError("energy and parameters both decide the ranks: give one of them")
        if self.energy is not None and not 0.0 < self.energy <= 1.0:
            raise UserError(f"energy must be in (0, 1], got {self.energy:g}")
        for key in ("rank", "parameters"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"{key} must be at least 1, got {value}")
        if self.svd not in SVDS:
            raise UserError(f"unknown svd '{self.svd}': {nearest(self.svd, SVDS)}")


class Plan:
    """Names, paths and policies of one base's parameters.

    Raises:
        UserError: PEFT cannot express a policy for this model.
    """

    def __init__(self, base: Checkpoint, modules: Mapping[str, str], options: ExtractOptions) -> None:
        self._base, self._known, self._options = base, modules, options
        kind = base.config.get("model_type")
        self.transposed = kind in _CONV1D
        self._outer = _CONV1D.get(str(kind), "")
        self.tied = bool(base.config.get("tie_word_embeddings"))
        if options.settings.embeddings == "lora" and self.tied:
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
            if options.settings.embeddings != "lora" or len(shape) != 2:
                return "whole" if options.settings.embeddings == "full" else "skip"
            return "linear" if is_head(name) else "embedding"
        if len(shape) == 2 and name.endswith(".weight"):
            return "linear"
        if len(shape) == 1 and name.endswith((".weight", ".bias")):
            weight = f"{name.rpartition('.')[0]}.weight"
            if name.endswith(".bias") and weight in self._base and len(self._base.shape(weight)) == 2:
                return "bias" if options.settings.biases != "skip" else "skip"
            if options.settings.norms == "skip":
                return "skip"
            return "bias" if name.endswith(".bias") and weight in self._base else "whole"
        return "skip"

    def in_base(self) -> list[str]:
        """Paths of all modules of the base that hold a matrix."""
        return [self.module(n) for n in self._base.names if n.endswith(".weight") and len(self._base.shape(n)) == 2]

    def described(self) -> dict[str, Any]:
        """The options as plain values."""
        values = {field.name: getattr(self._options, field.name) for field in fields(self._options)}
        settings = asdict(values.pop("settings"))
        del settings["compress"]  # it concerns merges before the extraction
        return {**settings, **values, "dtype": str(self._options.dtype).removeprefix("torch.")}

    def _wanted(self, module: str) -> bool:
        include, exclude = self._options.settings.include, self._options.settings.exclude
        included = not include or any(re.search(pattern, module) for pattern in include)
        return included and not any(re.search(pattern, module) for pattern in exclude)
