"""Learn the weights of a merge: Adam on weights per layer and expert, stopped by targets that are held back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from evomerge.errors import UserError
from evomerge.inference.learning.settings import LearnSettings
from evomerge.inference.learning.tokens import HELD_BACK, TokenTarget, hold_back
from evomerge.types import Learned

# Constant weights that the learning may start from; the best of them on the targets held back is taken.
_STARTS = (1.0, 0.7, 0.5)
# A smaller part of the loss is no gain.
_GAIN = 0.005

#: (weights (layers, experts), targets of each task, gradient=True) -> loss; adds its gradient to ``weights.grad``.
Loss = Callable[..., float]


def learn(loss: Loss, shape: tuple[int, int], targets: Sequence[TokenTarget], settings: LearnSettings) -> Learned:
    """Weights (layers, experts) of the smallest loss on a fifth of the targets, which is held back.

    A function of its arguments alone. The weights start equal. Each step takes some targets of every task, in an order
    that the seed gives; every few steps the weights, rounded to the grid, are tried on the targets held back.

    Raises:
        UserError: no task has targets enough to hold some back.
    """
    learned, held = hold_back(targets, settings.seed)
    if not any(held):
        counts = ", ".join(f"{own[0].task} {len(own)}" for own in learned if own) or "none"
        raise UserError(f"there are too few answers to learn from ({counts}): one task must have {HELD_BACK}")

    def held_back(weights: Tensor) -> float:
        return loss(weights, held, gradient=False)

    starts = [torch.full(shape, min(max(start, settings.low), settings.high)) for start in _STARTS]
    begun, number = min((held_back(start), n) for n, start in enumerate(starts))
    best, found = begun, _rounded(starts[number], settings)
    weights = starts[number].clone().requires_grad_()
    adam = torch.optim.Adam([weights], lr=settings.rate)
    draws = [_draws(own, settings) for own in learned]
    steps = waited = 0
    while steps < settings.steps and waited < settings.patience:
        adam.zero_grad()
        loss(weights, [next(own) for own in draws])
        adam.step()
        with torch.no_grad():
            weights.clamp_(settings.low, settings.high)
        steps += 1
        if steps % settings.every == 0:
            tried = _rounded(weights.detach(), settings)
            now = held_back(tried)
            waited = 0 if now < best * (1 - _GAIN) else waited + 1
            if now < best:
                best, found = now, tried
    return Learned(
        weights=tuple(tuple(round(w, 6) for w in row) for row in found.tolist()),
        start=float(starts[number][0, 0]),
        steps=steps,
        loss_before=begun,
        loss_after=best,
    )


def _rounded(weights: Tensor, settings: LearnSettings) -> Tensor:
    return ((weights / settings.grid).round() * settings.grid).clamp(settings.low, settings.high)


def _draws(targets: Sequence[TokenTarget], settings: LearnSettings) -> Iterator[list[TokenTarget]]:
    """Batches of a task's targets, which are in random order, over and over."""
    size, start = min(settings.batch, len(targets)), 0
    while True:
        yield [targets[(start + n) % len(targets)] for n in range(size)]
        start += size
