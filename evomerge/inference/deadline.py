"""Watch a generation: hand over each answer as it ends, and stop answers that cost too much."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ended:
    """An answer that has ended.

    Attributes:
        index: of its request.
        text: the answer.
        tokens: generated for it, with those of a stop string and the end-of-sequence token.
        passes: forward passes of the model that it took.
        cut: it was cut off by its group's allowance, before it ended by itself or by its own ``max_new_tokens``.
    """

    index: int
    text: str
    tokens: int
    passes: int
    cut: bool


class OutOfTime(Exception):
    """The deadline passed before all answers had ended."""


class Watch:
    """Follows a generation: the backend tells it of tokens and answers, and asks which answers to stop.

    Tokens, not seconds, decide which answers are cut off, so that a model gives the same answers on a slow machine and
    on a fast one. The deadline is for models that would hold up a run; they get no answers at all.

    Args:
        ended: called with each answer when it is done.
        groups: per request, the group whose allowance it draws on.
        allowances: group -> tokens that its answers may take together; other groups have no bound. When they are
            spent, the group's unfinished answers end with the text they have.
        deadline: value of ``time.monotonic()`` after which the generation raises OutOfTime.
    """

    def __init__(
        self,
        ended: Callable[[Ended], None] | None = None,
        groups: Sequence[str] = (),
        allowances: Mapping[str, int] | None = None,
        deadline: float | None = None,
    ) -> None:
        self._ended = ended
        self._groups = groups
        self._left = dict(allowances or {})
        self._deadline = deadline
        self._tokens: Counter[int] = Counter()
        self._passes: Counter[int] = Counter()

    def step(self) -> None:
        """Called before each forward pass.

        Raises:
            OutOfTime: the deadline passed before all answers had ended.
        """
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise OutOfTime("answers were still being generated at the time limit")

    def passed(self, index: int) -> None:
        """A forward pass has computed one or more tokens of the answer to request ``index``."""
        self._passes[index] += 1

    def token(self, index: int) -> None:
        """The answer to request ``index`` has grown by a token."""
        self._tokens[index] += 1
        if self._left:
            group = self._groups[index]
            if group in self._left:
                self._left[group] -= 1

    def spent(self, index: int) -> bool:
        """Whether the answer to request ``index`` may grow no more."""
        return bool(self._left) and self._left.get(self._groups[index], 1) <= 0

    def end(self, index: int, text: str, cut: bool = False) -> None:
        """The answer to request ``index`` is done."""
        if self._ended is not None:
            self._ended(Ended(index, text, self._tokens[index], self._passes[index], cut))
