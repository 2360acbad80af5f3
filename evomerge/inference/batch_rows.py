"""Decode a batch: each request is a row of a RowCache, prefilled once, then continued token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from evomerge.inference.backend import GenerationRequest
from evomerge.inference.kv_cache import RowCache, cache_argument, forward_rows
from evomerge.inference.next_token import argmax, penalized, repetition_penalty, sample
from evomerge.inference.prefix import SharedPrefix, Tokens


@dataclass
class Row:
    """One request that is being answered; ``stored`` holds its first ``prefix`` tokens."""

    index: int
    request: GenerationRequest
    tokens: Tokens
    prefix: int = 0
    stored: Stored | None = None
    answer: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.tokens) + len(self.answer)


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
    ) -> list[int]:
        """Next token of each row.

        Args:
            inputs: (rows, q) token ids; positions: (rows, q); starts: (rows,) first column of each row.
        """
        logits = forward_rows(self._model, self._cache_argument, inputs, positions, starts, cache)
        if self._penalty != 1:
            logits = penalized(logits, [[*row.tokens, *row.answer] for row in rows], self._penalty)
        tokens: list[int] = argmax(logits).tolist()
        for k, row in enumerate(rows):
            if row.request.temperature:
                tokens[k] = sample(logits[k], row.request, len(row.answer))
        return tokens

    def step(self, rows: Sequence[Row], end: int, cache: RowCache) -> list[int]:
        """Give each of the cache's first rows, ending at column ``end``, its newest token; gives the next ones."""
        lengths = torch.tensor([row.length - 1 for row in rows])  # the cache holds all but each row's newest token
        inputs = torch.tensor([row.answer[-1:] for row in rows])
        cache.select(0, len(rows), end)
        return self.forward(rows, inputs, lengths[:, None], end - lengths, cache)

    def prefill(self, rows: Sequence[Row], first: int, end: int, cache: RowCache) -> list[int]:
        """Compute new rows from cache row ``first`` on, ending at column ``end``; gives their next tokens."""
        size = max(len(row.tokens) - row.prefix for row in rows)
        inputs = torch.zeros(len(rows), size, dtype=torch.long)
        positions = torch.zeros(len(rows), size, dtype=torch.long)
        for k, row in enumerate(rows):
            length = len(row.tokens)
            known = max(length - size, 0)
            if known:
                assert row.stored is not None and known <= row.prefix
                source = slice(row.stored.start, row.stored.start + known)
                target = slice(end - length, end - size)
                cache.copy_from(row.stored.cache, (row.stored.row, source), (first + k, target))
            inputs[k, known - length :] = torch.tensor(row.tokens[known:])
            positions[k, known - length :] = torch.arange(known, length)
        starts = torch.tensor([end - len(row.tokens) for row in rows])
        cache.select(first, first + len(rows), end - size)
        return self.forward(rows, inputs, positions, starts, cache)

    def store(self, chunk: Sequence[SharedPrefix], rows: Sequence[Row]) -> None:
        """Compute the prefixes that several of ``rows`` begin with, and note in each row where its prefix is stored."""
        longest = max(group.length for group in chunk)
        cache = self.cache(len(chunk), longest)
        heads = [rows[group.members[0]] for group in chunk]
        short = [Row(h.index, h.request, h.tokens[: g.length]) for h, g in zip(heads, chunk, strict=True)]
        self.prefill(short, 0, longest, cache)
        for number, group in enumerate(chunk):
            for member in group.members:
                rows[member].prefix = group.length
                rows[member].stored = Stored(cache, number, longest - group.length)
