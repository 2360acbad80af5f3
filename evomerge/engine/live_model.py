"""Apply one recipe after another, in place, to one transformers model in memory."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from evomerge.engine.dense.merge_tensor import put
from evomerge.engine.dense.stream import stream
from evomerge.engine.merger import Merger
from evomerge.errors import UserError
from evomerge.types import Recipe
from evomerge.weights.checkpoint import Checkpoint, find_name


class LiveModel:
    """A base model in memory that recipes change in place, always from the pristine base on disk.

    Args:
        base_folder: model folder.
        dtype: torch dtype name of the model in memory.
        device: torch device.

    Attributes:
        model: the transformers model, in eval mode.
        tokenizer: its tokenizer.
    """

    def __init__(self, base_folder: Path | str, dtype: str = "bfloat16", device: str = "cpu") -> None:
        self.base = Checkpoint(base_folder)
        self.dtype = dtype
        self.device = torch.device(device)
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # no progress bars
                self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
                    base_folder, dtype=getattr(torch, dtype)
                )
            self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(base_folder)
        except (ValueError, OSError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"transformers cannot load {base_folder} ({reason}): give a causal language model's folder"
            ) from error
        self.model.to(self.device).eval().requires_grad_(False)
        self._parameters = self._by_checkpoint_name()
        self._touched: set[str] = set()

    def apply(self, merger: Merger, recipe: Recipe) -> None:
        """Make the model that of ``recipe``, merged from the pristine base; earlier recipes leave no trace.

        Raises:
            UserError: the method cannot merge these experts, refuses the recipe's numbers, or gives NaN or infinity, or
                transformers has no parameter of that name. The base is restored before the error is raised.
        """
        # if the model's dtype is more precise than the recipe's, round every parameter, as in the saved model
        every = self.dtype != recipe.dtype
        stale = self._touched - set(merger.changed(recipe))
        self._write_base(stale)
        try:
            planned = merger.plan(recipe, every)
            targets = {tensor.name: self._parameter(tensor.name) for tensor in planned}
            self._touched |= set(targets)
            stream(planned, lambda tensor, start, block: put(targets[tensor.name], start, block), device=self.device)
        except BaseException:
            self.restore()
            raise

    def restore(self) -> None:
        """Restore the base, bit for bit."""
        self._write_base(set(self._touched))

    def modules(self, name: str) -> tuple[torch.nn.Module, ...]:
        """The modules that have this parameter as their weight: several where it is tied.

        Raises:
            UserError: transformers has no parameter of that name.
        """
        place = self._parameter(name).data_ptr()
        own = ((module, getattr(module, "weight", None)) for module in self.model.modules())
        return tuple(m for m, weight in own if isinstance(weight, torch.Tensor) and weight.data_ptr() == place)

    def _write_base(self, names: set[str]) -> None:
        for name in sorted(names):
            self._parameter(name).copy_(self.base[name])
            self._touched.discard(name)

    def _parameter(self, name: str) -> torch.Tensor:
        try:
            return self._parameters[name]
        except KeyError:
            raise UserError(
                f"an expert changes '{name}', which transformers' {type(self.model).__name__} does not have under that "
                "name: this architecture cannot be merged in place, use job=merge"
            ) from None

    def _by_checkpoint_name(self) -> dict[str, torch.Tensor]:
        # state_dict, not named_parameters: it also holds saved buffers
        own = {name: tensor.detach() for name, tensor in self.model.state_dict(keep_vars=True).items()}
        found = {name: find_name(name, own) for name in self.base.names}
        return {name: own[match] for name, match in found.items() if match is not None}
