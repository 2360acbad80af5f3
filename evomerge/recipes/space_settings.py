"""Settings of the models that are merged and of the space that is searched; light, without torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from evomerge.errors import UserError
from evomerge.settings import check_choice
from evomerge.types import DTYPES


@dataclass(frozen=True)
class ModelsSettings:
    """A base and its experts, each a model name: a folder, a hub id, ``pypi:...`` or ``evomerge:...``."""

    base: str = "???"  # has to be set
    experts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SpaceSettings:
    """The space of recipes; the keys of ``space``.

    Attributes:
        layer_groups: equal runs of layers that have weights of their own; None: 4, or one a layer where there are
            fewer layers.
        methods: merge methods to choose from; empty: those registered as defaults for the experts.
        modifiers: ``lines``, ``svc`` or both, applied to every candidate, their parameters searched.
        weight_low, weight_high: smallest and largest weight of an expert.
        seed: of random masks.
        dtype: of the merged weights, computed and saved; None: the base's own.

    Raises:
        UserError: a number out of range, or an unknown dtype.
    """

    layer_groups: int | None = None
    methods: list[str] = field(default_factory=list)
    modifiers: list[str] = field(default_factory=list)
    weight_low: float = 0.0
    weight_high: float = 1.5
    seed: int = 0
    dtype: str | None = None

    def __post_init__(self) -> None:
        check_choice("space.dtype", self.dtype, DTYPES)
        if self.layer_groups is not None and self.layer_groups < 1:
            raise UserError(f"space.layer_groups must be at least 1, got {self.layer_groups}")
        if self.seed < 0:
            raise UserError(f"space.seed must be at least 0, got {self.seed}")
        if not self.weight_low < self.weight_high:
            raise UserError(
                f"space.weight_low must be below space.weight_high, got {self.weight_low} and {self.weight_high}"
            )
