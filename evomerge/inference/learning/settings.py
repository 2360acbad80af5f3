"""Settings of learning weights; light, without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LearnSettings:
    """
    Attributes:
        steps: of Adam, at most.
        batch: targets of each task in a step.
        rate: of Adam (arXiv:1412.6980); about what a weight moves in a step.
        every: steps between looks at the targets that are held back.
        patience: looks without a gain after which the learning stops.
        low, high: smallest and largest weight. Above 0: an expert of weight 0 is no part of a merge, and the others'
            orthogonalised vectors would be others.
        grid: learned weights are multiples of it.
        seed: of the targets' order, and of the choice of those that are held back.
    """

    steps: int = 40
    batch: int = 6
    rate: float = 0.04
    every: int = 4
    patience: int = 3
    low: float = 1e-3
    high: float = 1.5
    grid: float = 1e-3
    seed: int = 0
