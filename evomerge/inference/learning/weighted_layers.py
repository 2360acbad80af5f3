"""Let a frozen model's layers add the weighted sum of the parts of the experts' updates.

A parameter's merged delta is u (sum_t w[l, t] P_t) v^T in core space, l being the parameter's layer. A layer with base
weight W then computes x W^T + ((x v) M^T) u^T, so that no dense delta is formed and the gradient reaches the weights w
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evomerge.engine.core.core_space import CoreSpace
from evomerge.engine.layer_groups import layer_group
from evomerge.engine.live_model import LiveModel
from evomerge.errors import UserError
from evomerge.types import Recipe


@dataclass(frozen=True)
class _Part:
    """A parameter: its modules, its layer, its basis u (m, R) and v (n, R), and the parts (T, R, R), in float32."""

    modules: tuple[nn.Module, ...]
    layer: int
    u: Tensor
    v: Tensor
    parts: Tensor


class WeightedLayers:
    """The layers of a live model that the recipe's experts change.

    Args:
        live: the base, frozen; its parameters stay as they are.
        space: core space of the recipe's experts.
        recipe: its method gives the parts.

    Attributes:
        shape: (layers, experts) of the weights.

    Raises:
        UserError: the method has no parts, or a parameter belongs to no layer that adds an update to its output.
    """

    def __init__(self, live: LiveModel, space: CoreSpace, recipe: Recipe) -> None:
        self.shape = (space.layers, len(recipe.experts))
        self._parts = []
        for name, parts in sorted(space.parts(recipe).items()):
            modules, basis = live.modules(name), space.bases[name]
            refused = next((m for m in modules if type(m) is not nn.Linear), None)
            if refused is not None or not modules:
                kind = "no module" if refused is None else type(refused).__name__
                raise UserError(f"'{name}' is the weight of {kind}, where weights of experts cannot be learned")
            layer = layer_group(name, space.layers, space.layers)
            u, v = (side.to(live.device, live.model.dtype) for side in (basis.u, basis.v))
            self._parts.append(_Part(modules, layer, u, v, parts.to(live.device)))

    @contextmanager
    def weighted(self, weights: Tensor) -> Iterator[None]:
        """Within, the model is the merge at these weights (layers, experts); gradients flow to them."""
        with ExitStack() as stack:
            for part in self._parts:
                core = torch.tensordot(weights[part.layer], part.parts, dims=1)
                for module in part.modules:
                    stack.enter_context(_hook(module, part, core))
            yield


@contextmanager
def _hook(module: nn.Module, part: _Part, core: Tensor) -> Iterator[None]:
    """Add the merged delta's product u core v^T x to the module's output; the core is applied in float32."""

    def add(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        narrow = (inputs[0] @ part.v).to(core.dtype) @ core.mT
        return output + narrow.to(part.u.dtype) @ part.u.mT

    handle = module.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
