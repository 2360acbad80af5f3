"""Nats that a weighted model needs for answers, with the gradient to the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from evomerge.inference import attention
from evomerge.inference.chosen_positions import logits_only_at
from evomerge.inference.learning.tokens import TokenTarget
from evomerge.inference.learning.weighted_layers import WeightedLayers
from evomerge.inference.probe_model import accepted


@dataclass(frozen=True)
class AnswerLoss:
    """Mean over tasks of the mean over their targets of the nats that an answer needs.

    Attributes:
        model: frozen.
        layers: of this model.
        padding: whether texts of different length may share a batch.
        tokens: of one forward pass, padding included, where no text is longer. Few texts in a pass differ little in
            length and need little padding; more tokens keep a GPU busy.
    """

    model: PreTrainedModel
    layers: WeightedLayers
    padding: bool = True
    tokens: int = 512

    def __call__(self, weights: Tensor, tasks: Sequence[Sequence[TokenTarget]], *, gradient: bool = True) -> float:
        """The loss at ``weights`` (layers, experts); adds its gradient to ``weights.grad`` if asked.

        Tasks without targets do not count. One pass takes the targets of all tasks, those of like length together.
        """
        counted = [own for own in tasks if own]
        shares = [(target, 1.0 / len(own) / len(counted)) for own in counted for target in own]
        shares.sort(key=lambda pair: -pair[0].length)
        total = 0.0
        with torch.set_grad_enabled(gradient):
            for batch in self._batches(shares):
                with self.layers.weighted(weights):
                    nats = self._nats([target for target, _ in batch])
                    loss = (nats * torch.tensor([share for _, share in batch], device=nats.device)).sum()
                    if gradient:
                        loss.backward()  # type: ignore[no-untyped-call]
                total += float(loss.detach())
        return total

    def _batches(self, shares: list[tuple[TokenTarget, float]]) -> Iterator[list[tuple[TokenTarget, float]]]:
        """The targets in batches, the longest first."""
        while shares:
            width = shares[0][0].length
            batch = shares[: max(1, self.tokens // width)]
            if not self.padding:
                batch = [pair for pair in batch if pair[0].length == width]
            yield batch
            shares = shares[len(batch) :]

    def _nats(self, targets: Sequence[TokenTarget]) -> Tensor:
        """Nats (targets,) in float32."""
        device = self.model.device
        # Padded on the right, where a causal model does not look: it needs neither mask nor positions.
        inputs = torch.zeros(len(targets), targets[0].length, dtype=torch.long)
        rows: list[int] = []
        columns: list[int] = []
        wanted: list[int] = []
        for row, target in enumerate(targets):
            text = (target.before + target.new)[: target.length]
            inputs[row, : len(text)] = torch.tensor(text)
            start = len(target.before) - 1
            rows += [row] * (target.length - start)
            columns += range(start, target.length)
            wanted += [*target.new, *target.ends[:1]]
        names = accepted(self.model)
        given = {name: value for name, value in {"use_cache": False}.items() if name in names}
        at = torch.tensor(rows, device=device), torch.tensor(columns, device=device)
        with logits_only_at(self.model, at) as chosen:
            logits = chosen(self.model(input_ids=inputs.to(device), **given).logits).float()
        logs = torch.log_softmax(logits, dim=-1)
        each = -logs.gather(-1, torch.tensor(wanted, device=device)[:, None])[:, 0]
        place = -1
        for target in targets:
            place += len(target.new) + bool(target.ends)
            if len(target.ends) > 1:  # any of these tokens is right
                allowed = torch.tensor(target.ends, device=device)
                each = each.index_put(
                    (torch.tensor([place], device=device),), -logs[place, allowed].logsumexp(-1)[None]
                )
        return torch.zeros(len(targets), device=device).index_add(0, at[0], each)


@contextmanager
def differentiable(model: PreTrainedModel, checkpoints: bool) -> Iterator[None]:
    """Within, the model uses torch's attention, which has a fast gradient.

    Args:
        checkpoints: keep only the layers' inputs and compute the rest again for the gradient (arXiv:1604.06174): less
            memory, more time.
    """
    own = model.config._attn_implementation
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if own == attention.NAME:
        model.set_attn_implementation("sdpa")
    if checkpoints and layers:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        for layer in layers:  # a layer makes checkpoints only in training; its parts stay as for answers
            layer.training = True
    try:
        yield
    finally:
        if checkpoints and layers:
            model.gradient_checkpointing_disable()
            for layer in layers:
                layer.training = False
        if own == attention.NAME:
            model.set_attn_implementation(own)
