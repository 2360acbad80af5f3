"""Turn targets into tokens, and hold some of them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from evomerge.inference.answer_text import TextCodec, context_length, end_tokens
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.learning.targets import Target
from evomerge.inference.log_likelihood import split
from evomerge.inference.prefix import Tokens

# Of so many targets of a task one is held back.
HELD_BACK = 5


@dataclass(frozen=True)
class TokenTarget:
    """A target as tokens: ``before``, at least one, then ``new``; ``ends``: each of these tokens may follow them."""

    task: str
    before: Tokens
    new: Tokens
    ends: Tokens = ()

    @property
    def length(self) -> int:
        """Tokens of the model's input."""
        return len(self.before) + len(self.new) - (0 if self.ends else 1)


def tokenize(model: PreTrainedModel, codec: TextCodec, targets: Sequence[Target]) -> list[TokenTarget]:
    """Targets as tokens, in order; an answer without tokens, or one that the model's context cannot hold, is left out.

    A prompt is cut on the left as it is for the answers.
    """
    found = []
    room = context_length(model, codec.tokenizer)
    ends = _Ends(model, codec)
    for target in targets:
        before, new = split(codec, target.prompt, target.answer)
        if target.max_new_tokens:
            request = GenerationRequest(target.prompt, target.until, target.max_new_tokens)
            before = before[-len(codec.prompt(model, request)) :]
        if new and len(before) + len(new) <= room:
            found.append(TokenTarget(target.task, before, new, ends.of(target.until) if target.ends else ()))
    return found


def hold_back(targets: Sequence[TokenTarget], seed: int) -> tuple[list[list[TokenTarget]], list[list[TokenTarget]]]:
    """The targets of each task in random order: those to learn from, and a fifth that is held back.

    Tasks are in the order of their first target.
    """
    tasks = list(dict.fromkeys(target.task for target in targets))
    random = torch.Generator().manual_seed(seed)
    learned, held = [], []
    for task in tasks:
        own = [target for target in targets if target.task == task]
        order = torch.randperm(len(own), generator=random).tolist()
        cut = len(own) // HELD_BACK
        held.append([own[n] for n in order[:cut]])
        learned.append([own[n] for n in order[cut:]])
    return learned, held


class _Ends:
    """Tokens that may follow an answer: an end token, or the beginning of a stop string."""

    def __init__(self, model: PreTrainedModel, codec: TextCodec) -> None:
        self._codec = codec
        self._tokens = sorted(end_tokens(model, codec))
        self._pieces: list[str] = []
        self._known: dict[tuple[str, ...], Tokens] = {}

    def of(self, until: tuple[str, ...]) -> Tokens:
        if until not in self._known:
            self._known[until] = tuple(sorted({*self._tokens, *self._beginnings(until)}))
        return self._known[until]

    def _beginnings(self, until: tuple[str, ...]) -> list[int]:
        tokenizer = self._codec.tokenizer
        if not self._pieces:
            self._pieces = tokenizer.batch_decode([[n] for n in range(len(tokenizer))], skip_special_tokens=False)
        return [
            token
            for token, piece in enumerate(self._pieces)
            if piece and any(stop and (piece.startswith(stop) or stop.startswith(piece)) for stop in until)
        ]
