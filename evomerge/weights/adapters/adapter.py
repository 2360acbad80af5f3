"""Read a PEFT LoRA folder: factors and whole tensors, or one line about why it cannot be merged."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from evomerge.errors import UserError
from evomerge.files.json_files import read_json
from evomerge.tensors.lazy import LowRank
from evomerge.weights.tensor_files import TensorFile, all_finite, open_tensor_file

# Each of these settings changes the meaning of the stored tensors; ignoring one would silently give another model.
_REFUSED = (
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "alora_invocation_tokens",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "megatron_config",
)
# Starts that leave the base weights alone; the others (pissa, olora, corda, loftq, lora_ga) change them.
_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
_SAVE_AGAIN = "save it again with peft's save_pretrained"
_KEY = re.compile(r"base_model\.model\.(?P<path>.+)")
_LORA = re.compile(r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)(?P<rest>(\.\w+)*)")
# wrappers that PEFT puts between a module and its parameters
_WRAPPERS = re.compile(r"\.(base_layer|modules_to_save(\.default)?)(?=\.)")


class Adapter:
    """A LoRA adapter saved by PEFT.

    Classic and rank-stabilised scaling, rank and alpha patterns, linear and Conv1D layers, embeddings, DoRA, biases
    and whole modules saved beside the factors. The changes of a base: :mod:`evomerge.weights.adapters.updates`.

    Attributes:
        file: the file of its tensors.
        factors: PEFT's module path (``model.layers.0.self_attn.q_proj``) to its factors (out, in).
        embeddings: the same for embeddings, (vocabulary, width).
        magnitudes: module path to DoRA's norms.
        shifts: parameter path to what is added to it (``lora_bias``).
        replacements: parameter path to its new value (``modules_to_save``, biases, embeddings saved whole).

    Raises:
        UserError: the folder holds no adapter, or one that cannot be merged exactly.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        try:
            self.config: dict[str, Any] = read_json(self.folder / "adapter_config.json")
        except FileNotFoundError as error:
            is_model = (self.folder / "config.json").is_file()
            cure = "it is a whole model, wanted an adapter on one" if is_model else "name the folder that does"
            raise UserError(f"{self.folder} is no adapter: it has no adapter_config.json; {cure}") from error
        self._refuse_unsupported()
        self.factors: dict[str, LowRank] = {}
        self.embeddings: dict[str, LowRank] = {}
        self.magnitudes: dict[str, torch.Tensor] = {}
        self.shifts: dict[str, torch.Tensor] = {}
        self.replacements: dict[str, torch.Tensor] = {}
        self.file = self._weights()
        self._read(open_tensor_file(self.file))

    def _refuse_unsupported(self) -> None:
        def refuse(key: str) -> UserError:
            return UserError(
                f"adapter {self.folder} cannot be merged exactly ({key}={self.config[key]!r}): merge it into its base "
                "with peft's merge_and_unload, where peft can, and give the resulting model folder instead"
            )

        if "peft_type" not in self.config:
            raise UserError(f"{self.folder}/adapter_config.json names no peft_type: wanted LORA")
        if self.config["peft_type"] != "LORA":
            raise refuse("peft_type")
        for key in _REFUSED:
            if self.config.get(key):
                raise refuse(key)
        if self.config.get("init_lora_weights") not in _PLAIN_STARTS:
            raise refuse("init_lora_weights")

    def _weights(self) -> Path:
        names = ("adapter_model.safetensors", "adapter_model.bin")
        found = [self.folder / name for name in names if (self.folder / name).is_file()]
        if not found:
            raise UserError(
                f"cannot read adapter {self.folder}: it has neither {' nor '.join(names)}; save it again with peft's "
                "save_pretrained"
            )
        return found[0]

    def _read(self, file: TensorFile) -> None:
        modules: dict[str, dict[str, torch.Tensor]] = {}
        for key in file.names:
            match = _KEY.fullmatch(key)
            if match is None:
                raise UserError(f"adapter {self.folder} holds '{key}', which names no part of a model")
            lora = _LORA.fullmatch(match["path"])
            if lora is None:
                # views: a whole embedding may be large
                self.replacements[_WRAPPERS.sub("", match["path"])] = file.tensor(key)
            else:
                part = "bias" if lora["rest"].endswith(".bias") else lora["part"]
                parts = modules.setdefault(lora["module"], {})
                if part in parts or not file.dtype(key).is_floating_point:
                    wrong = "several adapters" if part in parts else f"codes of {file.dtype(key)}, no numbers,"
                    raise UserError(f"adapter {self.folder} holds {wrong} under '{key}': {_SAVE_AGAIN}")
                # clone: the file may be overwritten during a run
                factor = parts[part] = file.tensor(key).float().clone()
                if not all_finite(factor):
                    raise UserError(
                        f"adapter {self.folder} holds NaN or infinity in '{key}': its training diverged or the file is "
                        "damaged; use an earlier checkpoint or save it again"
                    )
        for module, parts in sorted(modules.items()):
            self._read_module(module, parts)
        if self.magnitudes.keys() != (self.factors | self.embeddings if self.config.get("use_dora") else {}).keys():
            raise UserError(
                f"adapter {self.folder} has use_dora={self.config.get('use_dora', False)}, which does not go with the "
                f"magnitudes that it holds: {_SAVE_AGAIN}"
            )
        if not (self.factors or self.embeddings or self.replacements):
            raise UserError(f"adapter {self.folder} holds no factors")

    def _read_module(self, module: str, parts: Mapping[str, torch.Tensor]) -> None:
        embedding = "embedding_A" in parts or "embedding_B" in parts
        a, b = (parts.get(f"embedding_{side}" if embedding else side) for side in "AB")
        if a is None or b is None or a.ndim != 2 or b.ndim != 2 or b.shape[1] != a.shape[0]:
            raise UserError(f"adapter {self.folder} has no matching factors A (r, n) and B (m, r) for '{module}'")
        scale = self.scale(module, a.shape[0])
        if embedding:
            self.embeddings[module] = LowRank(a.T.contiguous() * scale, b.T.contiguous())
        else:
            self.factors[module] = LowRank(b * scale, a)
        if "magnitude_vector" in parts:
            self.magnitudes[module] = parts["magnitude_vector"].flatten()
        if "bias" in parts:
            self.shifts[f"{module}.bias"] = parts["bias"] * scale

    def scale(self, module: str, rank: int) -> float:
        """Scale of a module's factors: alpha / r, or alpha / sqrt(r) if rank-stabilised (arXiv:2312.03732)."""
        default = self.config.get("lora_alpha", 8)  # as in peft
        try:
            alpha = _pattern_value(self.config.get("alpha_pattern") or {}, module, default)
            return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)
        except (AttributeError, TypeError, re.error) as error:
            patterns = self.config.get("alpha_pattern")
            raise UserError(
                f"adapter {self.folder} has lora_alpha={default!r} and alpha_pattern={patterns!r} ({error}), wanted a "
                f"number and patterns of such: {_SAVE_AGAIN}"
            ) from error


def _pattern_value(patterns: Mapping[str, float], module: str, default: float) -> float:
    """PEFT's rule: the first pattern that matches the module path or its end, as a regular expression."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
