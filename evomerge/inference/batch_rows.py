"""Decode a batch: each request is a row of a RowCache, prefilled once, then continued token by token or by drafts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor
from transformers import PreTrainedModel

from evomerge.inference.backend import GenerationRequest
from evomerge.inference.drafts import Drafts
from evomerge.inference.kv_cache import RowCache, cache_argument, forward_rows
from evomerge.inference.next_token import argmax, penalized, repetition_penalty, sample
from evomerge.inference.prefix import Tokens


@dataclass
class Row:
    """One request that is being answered.

    Attributes:
        tokens: of the prompt.
        drafts: known answers to it, if there are any.
        prefix: number of its first tokens whose keys and values are in ``stored``.
        answer: tokens so far.
        draft: tokens after ``answer`` that the next forward pass verifies.
    """

    index: int
    request: GenerationRequest
    tokens: Tokens
    drafts: Drafts | None = None
    prefix: int = 0
    stored: Stored | None = None
    answer: list[int] = field(default_factory=list)
    draft: Tokens = ()

    @property
    def length(self) -> int:
        return len(self.tokens) + len(self.answer)

    @property
    def text(self) -> Tokens:
        """All tokens that the model has been given after the next pass."""
        return (*self.tokens, *self.answer, *self.draft)

    @property
    def new(self) -> int:
        """Number of tokens that the next pass has to compute."""
        return self.length + len(self.draft) - self.prefix

    def look_ahead(self) -> Tokens:
        """Choose the draft that the next pass verifies, with room for the token that comes after it."""
        if self.drafts is not None:
            self.draft = self.drafts.after(self.answer, self.request.max_new_tokens - len(self.answer) - 1)
        return self.draft


@dataclass(frozen=True)
class Stored:
    """A computed prefix: columns ``start`` onwards of ``row`` in ``cache``."""

    cache: RowCache
    row: int
    start: int


class RowModel:
    """Computes the next tokens of rows.

    Args:
        model: one that :func:`evomerge.inference.probe_model.prepare` found to decode by rows.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        name = cache_argument(model)
        assert name is not None, "a model without a cache does not decode by rows"
        self._model, self._cache_argument = model, name
        self._layers: int = model.config.get_text_config().num_hidden_layers
        self._penalty = repetition_penalty(model)

    def cache(self, rows: int, columns: int) -> RowCache:
        """An empty cache for this model."""
        return RowCache(self._layers, rows, columns)

    def forward(
        self, rows: Sequence[Row], inputs: Tensor, positions: Tensor, starts: Tensor, cache: RowCache
    ) -> list[list[int]]:
        """Next tokens of each row: after each token of its draft, if it has one, and after the token before that.

        Args:
            inputs: (rows, q) token ids; positions: (rows, q); starts: (rows,) first column of each row.
        """
        counts = [1 + len(row.draft) for row in rows]
        logits = forward_rows(self._model, self._cache_argument, inputs, positions, starts, cache, counts)
        if self._penalty != 1:
            logits = penalized(logits, [[*row.tokens, *row.answer] for row in rows], self._penalty)
        tokens = iter(argmax(logits).tolist())
        found = [[next(tokens) for _ in range(count)] for count in counts]
        ends = accumulate(counts)
        for row, own, end in zip(rows, found, ends, strict=True):
            if row.request.temperature:
                own[-1] = sample(logits[end - 1], row.request, len(row.answer))
        return found

    @property
    def verifies(self) -> bool:
        """Whether rows may have drafts: a repetition penalty would look at tokens that may not stay."""
        return self._penalty == 1

    def step(self, rows: Sequence[Row], end: int, cache: RowCache) -> list[list[int]]:
        """Give each of the cache's first rows, ending at column ``end``, its newest token; gives the next ones."""
        lengths = torch.tensor([row.length - 1 for row in rows])  # the cache holds all but each row's newest token
        inputs = torch.tensor([row.answer[-1:] for row in rows])
        cache.select(0, len(rows), end)
        return self.forward(rows, inputs, lengths[:, None], end - lengths, cache)

    def prefill(self, rows: Sequence[Row], first: int, end: int, cache: RowCache) -> list[list[int]]:
        """Compute new rows with their drafts from cache row ``first`` on, ending at column ``end``; gives the next
        tokens."""
        size = max(row.new for row in rows)
        inputs = torch.zeros(len(rows), size, dtype=torch.long)
        positions = torch.zeros(len(rows), size, dtype=torch.long)
        lengths = [len(row.text) for row in rows]
        for k, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            known = max(length - size, 0)
            if known:
                assert row.stored is not None and known <= row.prefix
                source = slice(row.stored.start, row.stored.start + known)
                target = slice(end - length, end - size)
                cache.copy_from(row.stored.cache, (row.stored.row, source), (first + k, target))
            inputs[k, known - length :] = torch.tensor(row.text[known:])
            positions[k, known - length :] = torch.arange(known, length)
        cache.select(first, first + len(rows), end - size)
        return self.forward(rows, inputs, positions, end - torch.tensor(lengths), cache)

    def hold(self, row: Row, cache: RowCache, place: int, start: int) -> None:
        """Store what ``cache`` holds of the row, from column ``start`` of row ``place`` on, in a cache of its own: all
        but its newest token."""
        length = row.length - 1
        own = self.cache(1, length)
        own.copy_from(cache, (place, slice(start, start + length)), (0, slice(0, length)))
        row.prefix, row.stored = length, Stored(own, 0, 0)

    def store(self, heads: Sequence[Row]) -> None:
        """Compute prefixes that several rows begin with; notes in each head, which has no other tokens, where it is."""
        longest = max(len(head.tokens) for head in heads)
        cache = self.cache(len(heads), longest)
        self.prefill(heads, 0, longest, cache)
        for place, head in enumerate(heads):
            head.prefix, head.stored = len(head.tokens), Stored(cache, place, longest - len(head.tokens))
