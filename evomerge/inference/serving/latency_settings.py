"""Settings of a measurement of latency; light, without torch."""

from __future__ import annotations

from dataclasses import dataclass, field

from evomerge.errors import UserError


@dataclass(frozen=True)
class LatencySettings:
    """The keys of ``latency``. Every row has the same number of tokens; which ones they are has no influence.

    Attributes:
        batch_sizes: requests that arrive together.
        prompt_tokens: length of each prompt.
        new_tokens: length of each answer.
        rounds: how often each model answers each batch; from 6 on intervals have their 95 %.
        measure: whether a search measures its winner, too.

    Raises:
        UserError: a number out of range.
    """

    batch_sizes: list[int] = field(default_factory=lambda: [1, 8, 32])
    prompt_tokens: int = 128
    new_tokens: int = 32
    rounds: int = 7
    measure: bool = False

    def __post_init__(self) -> None:
        if not self.batch_sizes:
            raise UserError("latency.batch_sizes is empty: give at least one, for example latency.batch_sizes=[1,8]")
        checked = [("batch_sizes", size, 1) for size in self.batch_sizes]
        checked += [("prompt_tokens", self.prompt_tokens, 1), ("rounds", self.rounds, 1)]
        # one token is the first token: there is no time from one to the next
        checked.append(("new_tokens", self.new_tokens, 2))
        for name, value, least in checked:
            if value < least:
                raise UserError(f"latency.{name} must be at least {least}, got {value}")
