"""A PEFT LoRA folder: what it does to each parameter of its base, or a clear refusal."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evomerge.errors import UserError
from evomerge.weights.checkpoint import TIED_HEAD, Checkpoint, find_name
from evomerge.weights.orientation import has_transposed_shapes, transposed_weights
from evomerge.weights.tensor_files import TensorFile, equal_values, open_tensor_file

# Each of these changes what the stored tensors mean; reading them as usual would give another model without a word.
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
)
# Starts that leave the base weights alone; the others (pissa, olora, corda, loftq, lora_ga) change them.
_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
_KEY = re.compile(r"base_model\.model\.(?P<path>.+)")
_LORA = re.compile(r"(?P<module>.+)\.lora_(?P<part>A|B|embedding_A|embedding_B|magnitude_vector)(?P<rest>(\.\w+)*)")
# wrappers that PEFT puts between a module and its parameters
_WRAPPERS = re.compile(r"\.(base_layer|modules_to_save(\.default)?)(?=\.)")
_EMBEDDING = re.compile(r"(embed_tokens|wte|word_embeddings|embed_in|tok_embeddings)\.weight$")


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

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.left.shape[0], self.right.shape[1]

    def dense(self) -> torch.Tensor:
        """(m, n) float32."""
        return self.left @ self.right

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows ``start`` to ``stop`` of :meth:`dense`, without the others."""
        return self.left[start:stop] @ self.right

    def transposed(self) -> LowRank:
        """Factors of the transposed delta."""
        return LowRank(self.right.T.contiguous(), self.left.T.contiguous())


@dataclass(frozen=True)
class Update:
    """What an adapter does to one parameter, in the parameter's own orientation.

    The parameter becomes ``replacement`` (else it keeps its value), plus ``factors``, rescaled to ``magnitude``, plus
    ``shift``.

    Attributes:
        module: PEFT's path of the module.
        factors: low-rank delta.
        by_column: the layer's outputs are the parameter's columns (Conv1D, embedding), not its rows.
        magnitude: DoRA's norm of every row or, ``by_column``, column (arXiv:2402.09353, eq. 5).
        replacement: the whole parameter, of the adapter's dtype (memory-mapped).
        shift: dense delta, float32.
    """

    module: str
    factors: LowRank | None = None
    by_column: bool = False
    magnitude: torch.Tensor | None = None
    replacement: torch.Tensor | None = None
    shift: torch.Tensor | None = None

    @property
    def low_rank(self) -> LowRank | None:
        """The whole delta in factors, where it has any."""
        exact = self.magnitude is None and self.replacement is None and self.shift is None
        return self.factors if exact else None


class Adapter:
    """A LoRA adapter saved by PEFT.

    Classic and rank-stabilised scaling, rank and alpha patterns, linear and Conv1D layers, embeddings, DoRA, biases
    and whole modules saved beside the factors.

    Attributes:
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
            self.config: dict[str, Any] = json.loads((self.folder / "adapter_config.json").read_text())
        except FileNotFoundError as error:
            raise UserError(f"{self.folder} is no adapter: it has no adapter_config.json") from error
        self._refuse_unsupported()
        self.factors: dict[str, LowRank] = {}
        self.embeddings: dict[str, LowRank] = {}
        self.magnitudes: dict[str, torch.Tensor] = {}
        self.shifts: dict[str, torch.Tensor] = {}
        self.replacements: dict[str, torch.Tensor] = {}
        self._read(open_tensor_file(self._weights()))

    def on_base(self, base: Checkpoint) -> dict[str, Update]:
        """What becomes of the base's parameters, by their names; those that keep their value are left out.

        Some checkpoints are saved without the outer model's prefix (``h.0...`` for ``transformer.h.0...``); both match.

        Raises:
            UserError: the base lacks a parameter or has it in another shape: the adapter was made for another base.
                Or the base ties its output head to the embeddings and the adapter parts them.
        """
        updates: dict[str, Update] = {}
        transposed: frozenset[str] = frozenset()
        if self.config.get("fan_in_fan_out") or has_transposed_shapes(base):
            transposed = transposed_weights(base)
        for module, factor in (self.factors | self.embeddings).items():
            name = self._find(f"{module}.weight", base)
            if name is None:
                continue
            by_column = module in self.embeddings or name in transposed
            factor = factor.transposed() if name in transposed and module in self.factors else factor
            self._check_shape(name, factor.shape, base)
            magnitude = self.magnitudes.get(module)
            if magnitude is not None:
                self._check_magnitude(module, magnitude, factor.shape[1 if by_column else 0])
            updates[name] = Update(module, factor, by_column, magnitude)
        for path, value in self.replacements.items():
            name = self._find(path, base)
            if name is None:
                continue
            self._check_shape(name, tuple(value.shape), base)
            if not equal_values(value, base[name]):
                before = updates.get(name, Update(path.rpartition(".")[0]))
                updates[name] = Update(before.module, before.factors, before.by_column, before.magnitude, value)
        for path, shift in self.shifts.items():
            name = self._find(path, base)
            assert name is not None, "a bias is never tied"
            self._check_shape(name, tuple(shift.shape), base)
            replacement = updates[name].replacement if name in updates else None
            updates[name] = Update(path.rpartition(".")[0], replacement=replacement, shift=shift)
        self._check_ties(updates, base)
        return dict(sorted(updates.items()))

    def _find(self, path: str, base: Checkpoint) -> str | None:
        """The parameter's name in the base; None for a tied head that only repeats what the embeddings say."""
        name = find_name(path, base)
        if name is None and path == TIED_HEAD and _is_tied(base):
            if self._repeats_embeddings(base):
                return None
            raise self._parted(base)
        if name is None:
            raise UserError(
                f"adapter {self.folder} was made for another base: {base.path} has no parameter '{path}'"
                f"{self._intended()}"
            )
        return name

    def _repeats_embeddings(self, base: Checkpoint) -> bool:
        head = TIED_HEAD.removesuffix(".weight")
        if head in self.factors:
            own = self.factors[head]
            if not any(
                torch.equal(own.left, other.left) and torch.equal(own.right, other.right)
                for other in self.embeddings.values()
            ):
                return False
        if TIED_HEAD in self.replacements:
            stored = self.replacements[TIED_HEAD]
            others = [value for path, value in self.replacements.items() if _EMBEDDING.search(path)]
            others = others or [base[name] for name in base.names if _EMBEDDING.search(name)]
            return any(stored.shape == other.shape and equal_values(stored, other) for other in others)
        return True

    def _check_ties(self, updates: Mapping[str, Update], base: Checkpoint) -> None:
        """New embeddings on a tied base are exact only where the head follows them."""
        head = TIED_HEAD.removesuffix(".weight")
        follows = head in self.factors or TIED_HEAD in self.replacements or self.config.get("ensure_weight_tying")
        if _is_tied(base) and not follows and any(_EMBEDDING.search(name) for name in updates):
            raise self._parted(base)

    def _parted(self, base: Checkpoint) -> UserError:
        return UserError(
            f"adapter {self.folder} changes the embeddings and the output head differently, but {base.path} ties the "
            "two: untie the base first (load it with tie_word_embeddings=False and save it with its lm_head)"
        )

    def _check_shape(self, name: str, wanted: tuple[int, ...], base: Checkpoint) -> None:
        if base.shape(name) != wanted:
            raise UserError(
                f"adapter {self.folder} was made for another base: '{name}' has shape {list(base.shape(name))} in "
                f"{base.path}, the adapter wants {list(wanted)}{self._intended()}"
            )

    def _check_magnitude(self, module: str, magnitude: torch.Tensor, outputs: int) -> None:
        if magnitude.shape != (outputs,):
            raise UserError(
                f"adapter {self.folder} has a magnitude of shape {list(magnitude.shape)} for '{module}', wanted "
                f"[{outputs}]: save it again with peft's save_pretrained"
            )

    def _intended(self) -> str:
        intended = self.config.get("base_model_name_or_path")
        return f" (its base is '{intended}')" if intended else ""

    def _refuse_unsupported(self) -> None:
        def refuse(key: str) -> UserError:
            return UserError(
                f"adapter {self.folder} cannot be merged exactly ({key}={self.config[key]!r}): merge it into its base "
                "with peft's merge_and_unload and give the resulting model folder instead"
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
                # views: a whole embedding may be among them
                self.replacements[_WRAPPERS.sub("", match["path"])] = file.tensor(key)
            else:
                part = "bias" if lora["rest"].endswith(".bias") else lora["part"]
                # clone: the file may be overwritten while a run goes on
                modules.setdefault(lora["module"], {})[part] = file.tensor(key).float().clone()
        for module, parts in sorted(modules.items()):
            self._read_module(module, parts)
        if not (self.factors or self.embeddings or self.replacements):
            raise UserError(f"adapter {self.folder} holds no factors")

    def _read_module(self, module: str, parts: Mapping[str, torch.Tensor]) -> None:
        embedding = "embedding_A" in parts or "embedding_B" in parts
        a, b = (parts.get(f"embedding_{side}" if embedding else side) for side in "AB")
        if a is None or b is None or a.ndim != 2 or b.ndim != 2 or b.shape[1] != a.shape[0]:
            raise UserError(f"adapter {self.folder} has no matching factors A (r, n) and B (m, r) for '{module}'")
        scale = self._scale(module, a.shape[0])
        if embedding:
            self.embeddings[module] = LowRank(a.T.contiguous() * scale, b.T.contiguous())
        else:
            self.factors[module] = LowRank(b * scale, a)
        if "magnitude_vector" in parts:
            self.magnitudes[module] = parts["magnitude_vector"].flatten()
        if "bias" in parts:
            self.shifts[f"{module}.bias"] = parts["bias"] * scale

    def scale(self, module: str, rank: int) -> float:
        """Of a module's factors: alpha / r, or alpha / sqrt(r) when rank-stabilised (arXiv:2312.03732)."""
        alpha = _pattern_value(self.config.get("alpha_pattern") or {}, module, self.config["lora_alpha"])
        return float(alpha) / (math.sqrt(rank) if self.config.get("use_rslora") else rank)


def _is_tied(base: Checkpoint) -> bool:
    # tied is transformers' default, which old configurations leave unsaid
    return TIED_HEAD not in base and not base.raw and bool(base.config.get("tie_word_embeddings", True))


def _pattern_value(patterns: Mapping[str, float], module: str, default: float) -> float:
    """PEFT's rule: the first pattern that matches the module path or its end, as a regular expression."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return default
