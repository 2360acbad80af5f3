"""Drafts: guess how an answer goes on from answers that earlier models gave to the same prompt.

The decoder verifies a draft in one forward pass and keeps only tokens that the model itself chooses (speculative
decoding with known texts, arXiv:2304.04487), so that a bad guess costs time and changes no answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from evomerge.inference.prefix import Tokens

# What an unknown source is taken for: so many tokens agreed with the model's, then one did not.
_PRIOR = 20.0
# A draft ends where the whole of it is less likely than this to be right: the tokens after that cost more than steps.
_LEAST = 0.3
# Where no known answer begins as this one does, one that holds so many of its last tokens is followed from there, for
# at most so many tokens. Each time that this misleads, one more of the last tokens has to be there.
_LAST, _REJOINED = 2, 8


class Sources:
    """How far the answers of each source, an earlier model, have agreed with those of the model that answers now.

    One for all requests of a generation: a merge resembles some of the earlier merges more than others.
    """

    def __init__(self) -> None:
        self._agreed: dict[int, float] = {}
        self._broken: dict[int, float] = {}

    def share(self, source: int) -> float:
        """Estimated probability that the source's next token is the model's too, in (0, 1)."""
        agreed = self._agreed.get(source, 0.0) + _PRIOR
        return agreed / (agreed + self._broken.get(source, 0.0) + 1.0)

    def learn(self, source: int, agreed: int, broken: bool) -> None:
        """So many more tokens of the source's answer were the model's too; ``broken``: then one was not."""
        self._agreed[source] = self._agreed.get(source, 0.0) + agreed
        self._broken[source] = self._broken.get(source, 0.0) + broken


class Drafts:
    """The known answers to one prompt.

    Args:
        answers: token lists and the sources that gave each; of equally likely ones the first is preferred.
        sources: shared by the requests of a generation.
    """

    def __init__(self, answers: Sequence[tuple[Tokens, Sequence[int]]], sources: Sources) -> None:
        self._answers = answers
        self._sources = sources
        self._agreed: list[int | None] = [0] * len(answers)  # tokens that each shares with the answer; None: no others
        self._last = _LAST
        self._guess: tuple[int, int] | None = None  # place and token that a known answer was followed to

    def after(self, said: Sequence[int], room: int) -> Tokens:
        """At most ``room`` tokens that may follow ``said``, what the model has answered so far; () if nothing does.

        The likeliest known answer that begins with ``said`` goes on; else one that holds its last tokens.
        """
        self.learn(said)
        if room <= 0:
            return ()
        begun = tuple(said)
        if self._guess is not None and begun[self._guess[0]] != self._guess[1]:
            self._last += 1
        self._guess = None
        fitting = [known for known in self._answers if len(known[0]) > len(begun) and known[0][: len(begun)] == begun]
        if fitting:
            tokens, sources = max(fitting, key=self._likelihood)
            return tokens[len(begun) :][: min(room, self._length(sources))]
        for tokens, sources in sorted(self._answers, key=self._likelihood, reverse=True):
            if place := _rejoined(tokens, begun, self._last):
                self._guess = len(begun), tokens[place]
                return tokens[place:][: min(room, self._length(sources), _REJOINED)]
        return ()

    def learn(self, said: Sequence[int]) -> None:
        """Tell the sources how far their answers agree with ``said``, which has grown since it was told last."""
        for number, (tokens, sources) in enumerate(self._answers):
            agreed = self._agreed[number]
            if agreed is None:
                continue
            more = _common(tokens[agreed:], said[agreed:])
            broken = agreed + more < min(len(tokens), len(said))
            self._agreed[number] = None if broken else agreed + more
            for source in sources:
                self._sources.learn(source, more, broken)

    def _likelihood(self, known: tuple[Tokens, Sequence[int]]) -> float:
        tokens, sources = known
        return sum(self._sources.share(source) ** len(tokens) for source in sources)

    def _length(self, sources: Sequence[int]) -> int:
        """How far it pays to follow an answer of these sources."""
        share = max((self._sources.share(source) for source in sources), default=_PRIOR / (_PRIOR + 1.0))
        return max(1, int(math.log(_LEAST) / math.log(share)))


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _rejoined(tokens: Tokens, said: Tokens, count: int) -> int:
    """Where ``tokens`` goes on after the ``count`` last tokens of ``said``, as near as possible to its length; 0 if
    nowhere."""
    if len(said) < count:
        return 0
    last = said[-count:]
    places = [end for end in range(count, len(tokens)) if tokens[end - count : end] == last]
    return min(places, key=lambda end: abs(end - len(said)), default=0)
