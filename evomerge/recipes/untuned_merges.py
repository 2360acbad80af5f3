"""List the merges that people make without tuning; a search starts from them and has to beat the best of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Weights of task arithmetic; Ilharco et al. 2023 (arXiv:2212.04089) find the best between 0.3 and 0.5, and adapters
# that were trained to be merged take 1. The uniform average stands for a weight that is nearly its own.
TASK_ARITHMETIC = (0.3, 0.5, 0.7, 1.0)
SAME_WEIGHT = 0.05


@dataclass(frozen=True)
class UntunedMerge:
    """A method with one weight per expert for all layers.

    Attributes:
        label: of the anchor.
        method: name of the merge method.
        weights: shape (T,).
        density: of every expert; None: the method's default.
    """

    label: str
    method: str
    weights: tuple[float, ...]
    density: float | None = None


def alone(names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """Weights (T,) of the base and of each expert alone, by the anchors' labels."""
    count = len(names)
    experts = {f"expert:{name}": tuple(float(i == t) for i in range(count)) for t, name in enumerate(names)}
    return {"base": (0.0,) * count, **experts}


def additive(methods: Sequence[str]) -> str | None:
    """The method among these that adds weighted deltas up."""
    return next((name for name in ("core_task_arithmetic", "task_arithmetic") if name in methods), None)


def untuned_merges(methods: Sequence[str], names: Sequence[str]) -> list[UntunedMerge]:
    """The base, each expert alone, the uniform average, task arithmetic with one weight for all experts, TIES at
    density 0.1 and 0.5 (weight 1 each: its mean divides by the number of experts), DARE at 0.5 (weight 1/T each: it
    adds up) and TSV-M (weight 1 each: its experts are orthogonal).

    Args:
        methods: that may be used.
        names: of the T experts.
    """
    count = len(names)
    adding = additive(methods)
    averaging = adding or ("linear" if "linear" in methods else None)
    # By law every method gives the base at weights 0 and an expert at its weight 1.
    found = [UntunedMerge(label, averaging or methods[0], row) for label, row in alone(names).items()]
    if count == 1:
        return found
    ones, shares = (1.0,) * count, (1 / count,) * count
    if averaging:
        found.append(UntunedMerge("uniform", averaging, shares))
    if adding:
        found += [
            UntunedMerge(f"task arithmetic {weight:g}", adding, (weight,) * count)
            for weight in TASK_ARITHMETIC
            if abs(weight - 1 / count) > SAME_WEIGHT
        ]
    found += [
        UntunedMerge("ties 0.1", "ties", ones, 0.1),
        UntunedMerge("ties 0.5", "ties", ones, 0.5),
        UntunedMerge("dare 0.5", "dare_linear", shares, 0.5),
        UntunedMerge("tsv", "core_tsv", ones),
    ]
    return [merge for merge in found if merge.method in methods]
