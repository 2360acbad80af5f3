"""Settings of a search; light, without Optuna."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from evomerge.errors import UserError
from evomerge.settings import check_choice


@dataclass(frozen=True)
class SearchSettings:
    """The keys of ``search``.

    Attributes:
        sampler: name of a registered sampler.
        options: of that sampler, by their names.
        budget: scored candidates, the anchors among them.
        seed: of the sampler.
        runaway: stop a candidate on a task when its answers have used so many times the tokens of the median candidate
            (:mod:`evomerge.search.runaway`); None: never. A single answer is bounded by ``tasks.NAME.max_new_tokens``.
        learned: learn weights per layer and expert before the search, from ``own``, the experts' own right answers to
            the search items, or ``gold``, the tasks' reference answers; ``false``: do not.
        racing: stop a candidate that is surely behind before all of its items are run (:mod:`evomerge.search.racing`).

    Raises:
        UserError: a number out of range.
    """

    sampler: str = "gp"
    options: dict[str, Any] = field(default_factory=dict)
    budget: int = 40
    seed: int = 0
    runaway: float | None = 5.0
    learned: str = "own"
    racing: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "learned", self.learned.lower())  # Hydra makes "False" of false
        check_choice("search.learned", self.learned, ("own", "gold", "false"))
        if self.budget < 1:
            raise UserError(f"search.budget must be at least 1, got {self.budget}: choose a number, for example 40")
        if self.seed < 0:
            raise UserError(f"search.seed must be at least 0, got {self.seed}")
        if self.runaway is not None and self.runaway < 1:
            raise UserError(f"search.runaway must be at least 1, got {self.runaway}: null stops no candidate")
