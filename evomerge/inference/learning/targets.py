"""Answers that a merge has to give; light, without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """An answer to learn.

    Attributes:
        prompt: what the answer follows.
        until: stop strings of the item: after the answer, the beginning of one is as right as the end of the text.
        max_new_tokens: of the item; 0 for a continuation that does not end there.
        ends: whether the answer ended by itself.
    """

    task: str
    prompt: str
    answer: str
    until: tuple[str, ...] = ()
    max_new_tokens: int = 0
    ends: bool = False
