"""A PEFT LoRA folder as low-rank factors per parameter, or a clear refusal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from evomerge.errors import UserError
from evomerge.weights.checkpoint import Checkpoint, find_name

# Each of these changes what the factors mean; adding B A without it would give another model without a word.
_REFUSED = (
    "use_dora",
    "modules_to_save",
    "lora_bias",
    "fan_in_fan_out",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "alora_invocation_tokens",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
)
# Starts that leave the base weights alone; the others (pissa, olora, corda, loftq, lora_ga) change them.
_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
_FACTOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])(\.\w+)?\.weight")


@dataclass(frozen=True)
class LowRank:
    """A delta in factors: ``left @ right``.

    Attributes:
        left: (m, r) float32: LoRA's B with the scale folded in.
        right: (r, n) float32: LoRA's A.
    """

    left: torch.Tensor
    right: torch.Tensor

    @property
    def rank(self) -> int:
        return self.left.shape[1]

    def dense(self) -> torch.Tensor:
        """(m, n) float32."""
        return self.left @ self.right


class Adapter:
    """A LoRA adapter saved by PEFT; classic and rank-stabilised scaling, rank and alpha patterns.

    Attributes:
        factors: PEFT's module path (``model.layers.0.self_attn.q_proj``) to its factors.

    Raises:
        UserError: the folder holds no adapter, or one that is more than plain LoRA on linear layers.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        try:
            self.config: dict[str, Any] = json.loads((self.folder / "adapter_config.json").read_text())
        except FileNotFoundError as error:
            raise UserError(f"{self.folder} is no adapter: it has no adapter_config.json") from error
        self._refuse_unsupported()
        self.factors: dict[str, LowRank] = self._read()

    def on_base(self, base: Checkpoint) -> dict[str, str]:
        """Module path to the base's parameter name, for every adapted module.

        Some checkpoints are saved without the outer model's prefix (``h.0...`` for ``transformer.h.0...``); both match.

        Raises:
            UserError: the base lacks a module or has it in another shape: the adapter was made for another base.
        """
        names: dict[str, str] = {}
        known = set(base.names)
        for module, factor in self.factors.items():
            name = find_name(f"{module}.weight", known)
            if name is None:
                raise UserError(
                    f"adapter {self.folder} was made for another base: {base.folder} has no parameter "
                    f"'{module}.weight'{self._intended()}"
                )
            wanted = (factor.left.shape[0], factor.right.shape[1])
            if base.shape(name) != wanted:
                raise UserError(
                    f"adapter {self.folder} was made for another base: '{name}' has shape {list(base.shape(name))} in "
                    f"{base.folder}, the adapter wants {list(wanted)}{self._intended()}"
                )
            names[module] = name
        return names

    def _intended(self) -> str:
        intended = self.config.get("base_model_name_or_path")
        return f" (its base is '{intended}')" if intended else ""

    def _refuse_unsupported(self) -> None:
        def refuse(key: str) -> UserError:
            return UserError(
                f"adapter {self.folder} is not a plain LoRA ({key}={self.config[key]!r}): merge it into its base with "
                "peft's merge_and_unload and give the resulting model folder instead"
            )

        if self.config.get("peft_type") != "LORA":
            raise (
                refuse("peft_type")
                if "peft_type" in self.config
                else UserError(f"{self.folder}/adapter_config.json names no peft_type: wanted LORA")
            )
        for key in _REFUSED:
            if self.config.get(key):
                raise refuse(key)
        if self.config.get("bias", "none") != "none":
            raise refuse("bias")
        if self.config.get("init_lora_weights") not in _PLAIN_STARTS:
            raise refuse("init_lora_weights")

    def _read(self) -> dict[str, LowRank]:
        path = self.folder / "adapter_model.safetensors"
        sides: dict[str, dict[str, torch.Tensor]] = {}
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                    match = _FACTOR.fullmatch(key)
                    if match is None:
                        raise UserError(
                            f"adapter {self.folder} holds '{key}', which is no LoRA factor of a linear layer"
                        )
                    # clone: the file may be replaced while a run goes on
                    sides.setdefault(match["module"], {})[match["side"]] = file.get_tensor(key).float().clone()
        except (FileNotFoundError, SafetensorError) as error:
            raise UserError(
                f"cannot read {path} ({error}): save the adapter again with peft's save_pretrained"
            ) from error
        factors: dict[str, LowRank] = {}
        for module, pair in sorted(sides.items()):
            if set(pair) != {"A", "B"} or pair["A"].ndim != 2 or pair["B"].shape[1:] != pair["A"].shape[:1]:
                raise UserError(f"adapter {self.folder} has no matching factors A (r, n) and B (m, r) for '{module}'")
            factors[module] = LowRank(pair["B"] * self._scale(module, pair["A"].shape[0]), pair["A"])
        if not factors:
            raise UserError(f"adapter {self.folder} holds no factors")
        return factors

    def _scale(self, module: str, rank: int) -> float:
        """alpha / r, or alpha / sqrt(r) when rank-stabilised (arXiv:2312.03732)."""
        alpha = _pattern_value(self.config.get("alpha_pattern") or {}, module, self.config["lora_alpha"])
        return float(alpha) / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


def _pattern_value(patterns: Mapping[str, float], module: str, default: float) -> float:
    """PEFT's rule: the first pattern that matches the module path or its end, as a regular expression."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
