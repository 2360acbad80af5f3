"""Compute what an adapter changes in each parameter of its base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from evomerge.errors import UserError
from evomerge.tensors.lazy import LowRank
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.adapters.orientation import has_transposed_shapes, transposed_weights
from evomerge.weights.checkpoint import Checkpoint, find_name
from evomerge.weights.parameter_names import HEAD, is_token_embedding
from evomerge.weights.tensor_files import equal_values

_HEAD_MODULE = HEAD.removesuffix(".weight")


@dataclass(frozen=True)
class Update:
    """The change of one parameter, in the parameter's own orientation.

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
        """The whole delta in factors; None if it has none."""
        exact = self.magnitude is None and self.replacement is None and self.shift is None
        return self.factors if exact else None


def updates_on(adapter: Adapter, base: Checkpoint) -> dict[str, Update]:
    """The changes of the base's parameters, by name in alphabetical order; unchanged parameters are left out.

    Names match with or without the outer model's prefix (``h.0...`` for ``transformer.h.0...``).

    Raises:
        UserError: the base lacks a parameter or has it in another shape: the adapter was made for another base. Or
            the base ties its output head to the embeddings, and the adapter changes only one of them.
    """
    updates = _factored(adapter, base)
    for path, value in adapter.replacements.items():
        name = _find(adapter, path, base)
        if name is None:
            continue
        _check_shape(adapter, name, tuple(value.shape), base)
        if not equal_values(value, base[name]):  # PEFT also saves unchanged parameters
            updates[name] = replace(updates.get(name, Update(path.rpartition(".")[0])), replacement=value)
    for path, shift in adapter.shifts.items():
        name = _find(adapter, path, base)
        assert name is not None, "a bias is never tied"
        _check_shape(adapter, name, tuple(shift.shape), base)
        updates[name] = replace(updates.get(name, Update(path.rpartition(".")[0])), shift=shift)
    _check_ties(adapter, updates, base)
    return dict(sorted(updates.items()))


def _factored(adapter: Adapter, base: Checkpoint) -> dict[str, Update]:
    updates: dict[str, Update] = {}
    transposed: frozenset[str] = frozenset()
    if adapter.config.get("fan_in_fan_out") or has_transposed_shapes(base):
        transposed = transposed_weights(base)
    for module, factor in (adapter.factors | adapter.embeddings).items():
        name = _find(adapter, f"{module}.weight", base)
        if name is None:
            continue
        by_column = module in adapter.embeddings or name in transposed
        factor = factor.transposed() if by_column and module in adapter.factors else factor
        _check_shape(adapter, name, factor.shape, base)
        magnitude, outputs = adapter.magnitudes.get(module), factor.shape[1 if by_column else 0]
        if magnitude is not None and magnitude.shape != (outputs,):
            raise UserError(
                f"adapter {adapter.folder} has a magnitude of shape {list(magnitude.shape)} for '{module}', wanted "
                f"[{outputs}]: save it again with peft's save_pretrained"
            )
        updates[name] = Update(module, factor, by_column, magnitude)
    return updates


def _find(adapter: Adapter, path: str, base: Checkpoint) -> str | None:
    """The parameter's name in the base; None for a tied head, which equals the embeddings."""
    name = find_name(path, base)
    if name is not None:
        return name
    if path != HEAD or not _is_tied(base):
        raise UserError(
            f"adapter {adapter.folder} was made for another base: {base.path} has no parameter '{path}'"
            f"{_intended(adapter)}"
        )
    if not _repeats_embeddings(adapter, base):
        raise _parted(adapter, base)
    return None


def _repeats_embeddings(adapter: Adapter, base: Checkpoint) -> bool:
    if _HEAD_MODULE in adapter.factors:
        own = adapter.factors[_HEAD_MODULE]
        others = adapter.embeddings.values()
        if not any(torch.equal(own.left, other.left) and torch.equal(own.right, other.right) for other in others):
            return False
    if HEAD in adapter.replacements:
        stored = adapter.replacements[HEAD]
        values = [value for path, value in adapter.replacements.items() if is_token_embedding(path)]
        values = values or [base[name] for name in base.names if is_token_embedding(name)]
        return any(stored.shape == value.shape and equal_values(stored, value) for value in values)
    return True


def _check_ties(adapter: Adapter, updates: Mapping[str, Update], base: Checkpoint) -> None:
    """Refuse new embeddings on a tied base, unless the head changes with them."""
    follows = _HEAD_MODULE in adapter.factors or bool(adapter.config.get("ensure_weight_tying"))
    if HEAD in adapter.replacements and not adapter.embeddings:
        follows = True  # compared above
    if _is_tied(base) and not follows and any(is_token_embedding(name) for name in updates):
        raise _parted(adapter, base)


def _parted(adapter: Adapter, base: Checkpoint) -> UserError:
    return UserError(
        f"adapter {adapter.folder} changes the embeddings and the output head differently, but {base.path} ties the "
        "two: untie the base first (load it with tie_word_embeddings=False and save it with its lm_head)"
    )


def _is_tied(base: Checkpoint) -> bool:
    # tied is transformers' default; old configurations do not state it
    return HEAD not in base and not base.raw and bool(base.config.get("tie_word_embeddings", True))


def _check_shape(adapter: Adapter, name: str, wanted: tuple[int, ...], base: Checkpoint) -> None:
    if base.shape(name) != wanted:
        raise UserError(
            f"adapter {adapter.folder} was made for another base: '{name}' has shape {list(base.shape(name))} in "
            f"{base.path}, the adapter wants {list(wanted)}{_intended(adapter)}"
        )


def _intended(adapter: Adapter) -> str:
    intended = adapter.config.get("base_model_name_or_path")
    return f" (its base is '{intended}')" if intended else ""
