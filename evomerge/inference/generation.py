"""Greedy decoder: keep the batch full, and compute shared beginnings of prompts once.

Rows leave the moment they are done and waiting requests take their places. Every row is right-aligned at the batch's
last column (see kv_cache). A prefill forwards the last S tokens of each new row, S being the longest part in the chunk
that is not covered by a shared prefix: where a row needs fewer, S recomputes some of its prefix instead of padding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from transformers import PreTrainedModel

from evomerge.inference.answer_text import TextCodec, end_tokens
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.batch_rows import Row, RowModel
from evomerge.inference.deadline import Watch
from evomerge.inference.memory_limits import Limits
from evomerge.inference.prefix import chunks, portions, shared_prefixes

# Columns by which the cache grows. Growing copies the cache, so larger blocks copy less often, but attention also
# computes unused columns.
_BLOCK = 32
# Requests longer than this are decoded apart: in one batch, short requests would take as much memory as they do.
_SHORT = 1024


class GreedyDecoder:
    """Answers of a causal language model whose layers all keep plain keys and values.

    Args:
        model: one that :func:`evomerge.inference.probe_model.prepare` found to decode by rows.
        codec: its tokenizer.
    """

    def __init__(self, model: PreTrainedModel, codec: TextCodec, limits: Limits) -> None:
        self._model, self._codec = model, codec
        self.limits = limits
        self._eos = end_tokens(model, codec)
        self._answers: list[str] = []
        self.watch = Watch()

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerationRequest], watch: Watch | None = None) -> list[str]:
        """Answers in the order of ``requests``."""
        rows = [Row(i, r, self._codec.prompt(self._model, r)) for i, r in enumerate(requests)]
        self._answers, self.watch = [""] * len(rows), watch or Watch()
        model = RowModel(self._model)
        classes: dict[int, list[Row]] = {}
        for row in rows:
            total = len(row.tokens) + row.request.max_new_tokens
            classes.setdefault(max(_SHORT, 1 << (total - 1).bit_length()), []).append(row)
        for _, members in sorted(classes.items()):
            _Batch(self, model, members).run()
        return self._answers

    def done(self, row: Row) -> bool:
        """Whether the row's last token ends it; an end-of-sequence token is dropped from the answer."""
        if row.answer[-1] in self._eos:
            row.answer.pop()
            return True
        return len(row.answer) >= row.request.max_new_tokens or self._codec.stopped(row.answer, row.request.until)

    def end(self, row: Row, cut: bool = False) -> None:
        """Record the row's answer."""
        text = self._codec.answer(row.answer, row.request.until)
        self._answers[row.index] = text
        self.watch.end(row.index, text, cut)


class _Batch:
    """Decodes rows of similar size: a queue of waiting rows, the live rows, and their cache."""

    def __init__(self, decoder: GreedyDecoder, model: RowModel, rows: list[Row]) -> None:
        self._decoder, self._model = decoder, model
        self._portions = self._with_prefixes(rows)
        self._queue: list[Row] = []
        columns = max(len(row.tokens) + row.request.max_new_tokens for row in rows) + _BLOCK
        self._size = max(1, min(decoder.limits.rows, len(rows), decoder.limits.cache_tokens // columns))
        self._end = 0
        self._live: list[Row] = []
        self._cache = model.cache(self._size, 0)

    def run(self) -> None:
        while True:
            self._decoder.watch.step()
            free = self._size - len(self._live)
            if free >= max(1, self._size // 8) and self._more():
                self._admit(free)
            elif self._live:
                self._step()
            else:
                return

    def _more(self) -> bool:
        """Whether requests are waiting."""
        if not self._queue:
            self._queue = next(self._portions, [])
        return bool(self._queue)

    def _with_prefixes(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows in portions whose shared prefixes are stored, no more of them at a time than the limit allows.

        The decoder takes rows from the end of a portion. The longest answers are there, so that they start first and
        the batch does not end with a few of them; rows with prompts of similar length are neighbours, so that a
        prefill pads little.
        """
        limits = self._decoder.limits
        groups = shared_prefixes([row.tokens for row in rows])
        alone = set(range(len(rows))).difference(*(group.members for group in groups))
        for portion in portions(chunks(groups, limits.prefill_tokens), limits.cache_tokens) if groups else [[]]:
            members = list(alone)
            alone = set()
            for chunk in portion:
                self._decoder.watch.step()
                self._model.store(chunk, rows)
                members += [member for group in chunk for member in group.members]
            yield sorted(
                (rows[member] for member in sorted(members)),
                key=lambda row: (row.request.max_new_tokens, len(row.tokens) - row.prefix),
            )

    def _next(self, free: int) -> list[Row]:
        """At most ``free`` waiting rows that fit one prefill; none if the watch lets no other row begin."""
        decoder = self._decoder
        chosen: list[Row] = []
        size = 0
        while self._queue and len(chosen) < free:
            if decoder.watch.spent(self._queue[-1].index):
                spent = self._queue.pop()
                spent.stored = None
                decoder.end(spent, cut=True)
                continue
            size = max(size, len(self._queue[-1].tokens) - self._queue[-1].prefix)
            if chosen and size * (len(chosen) + 1) > decoder.limits.prefill_tokens:
                break
            chosen.append(self._queue.pop())
        return chosen

    def _admit(self, free: int) -> None:
        rows = self._next(free)
        if not rows:
            return
        longest = max(len(row.tokens) for row in rows)
        if self._end < longest or not self._live:
            self._resize(longest)
        tokens = self._model.prefill(rows, len(self._live), self._end, self._cache)
        self._live += rows
        for row in rows:
            row.stored = None  # the last user of a stored prefix frees it
        self._take(tokens, len(self._live) - len(rows))

    def _step(self) -> None:
        if self._end == self._cache.columns:
            self._resize(max(row.length for row in self._live) - 1)
        tokens = self._model.step(self._live, self._end, self._cache)
        self._end += 1
        self._take(tokens, 0)

    def _take(self, tokens: Iterable[int], first: int) -> None:
        """Append each live row's next token, from row ``first`` on. Rows that have ended leave; the last rows take
        their place."""
        watch = self._decoder.watch
        for row, token in zip(self._live[first:], tokens, strict=True):
            row.answer.append(token)
            watch.token(row.index)
        for place in range(len(self._live) - 1, first - 1, -1):
            row = self._live[place]
            done = self._decoder.done(row)
            if done or watch.spent(row.index):
                self._decoder.end(row, cut=not done)
                last = self._live.pop()
                if place < len(self._live):
                    self._live[place] = last
                    self._cache.move_row(len(self._live), place)

    def _resize(self, end: int) -> None:
        """Let the live rows end at column ``end``, with a block of room."""
        width = max((row.length - 1 for row in self._live), default=0)
        end = max(end, width)
        columns = -(-(end + _BLOCK) // 16) * 16
        old = slice(self._end - width, self._end)
        self._cache.resize(len(self._live), old, slice(end - width, end), columns)
        self._end = end
