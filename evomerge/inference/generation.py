"""Greedy decoder: keep the batch full, compute shared beginnings of prompts once, and verify known answers.

Rows leave the moment they are done and waiting requests take their places. Every row is right-aligned at the batch's
last column (see kv_cache). A prefill forwards the last S tokens of each new row, S being the longest part in the chunk
that is not covered by a shared prefix: where a row needs fewer, S recomputes some of its prefix instead of padding.

A row with a draft (see drafts) is prefilled together with it, apart from the batch. It keeps the tokens that agree with
the model's own, and one more. While another draft fits, it is verified again; else the row joins the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from evomerge.inference.answer_text import TextCodec, end_tokens
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.batch_rows import Row, RowModel
from evomerge.inference.deadline import Watch
from evomerge.inference.drafts import Drafts, Sources
from evomerge.inference.memory_limits import Limits
from evomerge.inference.waiting_rows import WaitingRows

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
        drafts: whether known answers are verified.
    """

    def __init__(self, model: PreTrainedModel, codec: TextCodec, limits: Limits, drafts: bool = True) -> None:
        self._model, self._codec, self._drafts = model, codec, drafts
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
        if self._drafts and model.verifies:
            sources = Sources()
            for row in rows:
                row.drafts = self._known(row.request, sources)
        classes: dict[int, list[Row]] = {}
        for row in rows:
            total = len(row.tokens) + row.request.max_new_tokens
            classes.setdefault(max(_SHORT, 1 << (total - 1).bit_length()), []).append(row)
        for _, members in sorted(classes.items()):
            _Batch(self, model, members).run()
        return self._answers

    def _known(self, request: GenerationRequest, sources: Sources) -> Drafts | None:
        if not request.known or request.temperature:
            return None
        return Drafts([(self._codec.known(request, answer), answer.sources) for answer in request.known], sources)

    def done(self, row: Row) -> bool:
        """Whether the row's last token ends it; an end-of-sequence token is dropped from the answer."""
        if row.answer[-1] in self._eos:
            row.answer.pop()
            return True
        return len(row.answer) >= row.request.max_new_tokens or self._codec.stopped(row.answer, row.request.until)

    def cut(self, row: Row) -> None:
        """Record the answer of a row that may not go on."""
        self.end(row, cut=True)

    def end(self, row: Row, cut: bool = False) -> None:
        """Record the row's answer."""
        if row.drafts is not None:
            row.drafts.learn(row.answer)
        text = self._codec.answer(row.answer, row.request.until)
        self._answers[row.index] = text
        self.watch.end(row.index, text, cut)


class _Batch:
    """Decodes rows of similar size: waiting rows, the live rows, and their cache."""

    def __init__(self, decoder: GreedyDecoder, model: RowModel, rows: list[Row]) -> None:
        self._decoder, self._model = decoder, model
        columns = max(len(row.tokens) + row.request.max_new_tokens for row in rows) + _BLOCK
        self._size = max(1, min(decoder.limits.rows, len(rows), decoder.limits.cache_tokens // columns))
        self._waiting = WaitingRows(model, rows, self._size, decoder.limits, decoder.watch, decoder.cut)
        self._end = 0
        self._live: list[Row] = []
        self._cache = model.cache(0, 0)
        self._scratch = model.cache(0, 0)  # of the rows whose drafts are being verified

    def run(self) -> None:
        while True:
            self._decoder.watch.step()
            free = self._size - len(self._live)
            if rows := self._waiting.to_verify(len(self._live)):
                self._verify(rows)
            elif free >= max(1, self._size // 8) and (rows := self._waiting.to_admit(free)):
                self._admit(rows)
            elif self._live:
                self._step()
            elif not self._waiting:
                return

    def _verify(self, rows: list[Row]) -> None:
        """Compute rows with their drafts. Those that do not end with them wait again, with what has been computed."""
        starts = [-len(row.text) for row in rows]  # from the end
        end = -min(starts)
        self._scratch.clear(len(rows), end)
        found = self._model.prefill(rows, 0, end, self._scratch)
        self._append(rows, found)
        for place, (row, start, tokens) in enumerate(zip(rows, starts, found, strict=True)):
            row.stored = None
            if self._goes_on(row, tokens):
                self._model.hold(row, self._scratch, place, end + start)
                self._waiting.add(row)

    def _admit(self, rows: list[Row]) -> None:
        """Let waiting rows join the live ones."""
        longest = max(row.length for row in rows)
        if self._end < longest or not self._live or len(self._live) + len(rows) > self._cache.rows:
            self._resize(longest, rows)
        found = self._model.prefill(rows, len(self._live), self._end, self._cache)
        self._live += rows
        for row in rows:
            row.stored = None  # the last user of a stored prefix frees it
        self._take(found, len(self._live) - len(rows))

    def _step(self) -> None:
        if self._end == self._cache.columns:
            self._resize(max(row.length for row in self._live) - 1)
        found = self._model.step(self._live, self._end, self._cache)
        self._end += 1
        self._take(found, 0)

    def _take(self, found: Sequence[Sequence[int]], first: int) -> None:
        """Give each live row its next token, from row ``first`` on. Rows that have ended leave, and rows that have a
        draft again wait to be verified; the last rows take their places."""
        self._append(self._live[first:], found)
        for place in range(len(self._live) - 1, first - 1, -1):
            row = self._live[place]
            if self._goes_on(row, found[place - first]):
                if not row.draft:
                    continue
                self._model.hold(row, self._cache, place, self._end - row.length + 1)
                self._waiting.add(row)
            last = self._live.pop()
            if place < len(self._live):
                self._live[place] = last
                self._cache.move_row(len(self._live), place)

    def _append(self, rows: Sequence[Row], found: Sequence[Sequence[int]]) -> None:
        """Append the first token that a pass found to each row's answer: it is the model's own in any case."""
        for row, tokens in zip(rows, found, strict=True):
            row.answer.append(tokens[0])
            self._decoder.watch.passed(row.index)
            self._decoder.watch.token(row.index)

    def _goes_on(self, row: Row, found: Sequence[int]) -> bool:
        """Append the other tokens that the pass found, as far as the draft agrees with the tokens before them. Whether
        the row has not ended; then its next draft is chosen."""
        watch = self._decoder.watch
        for guess, token in zip((*row.draft, None), (*found[1:], None), strict=True):
            done = self._decoder.done(row)
            if done or watch.spent(row.index):
                self._decoder.end(row, cut=not done)
                return False
            if guess is None or token is None or row.answer[-1] != guess:
                break
            row.answer.append(token)
            watch.token(row.index)
        row.look_ahead()
        return True

    def _resize(self, end: int, joining: Sequence[Row] = ()) -> None:
        """Let the live rows end at column ``end``, with a block of room, and with room for rows that will join."""
        width = max((row.length - 1 for row in self._live), default=0)
        end = max(end, width)
        columns = -(-(end + _BLOCK) // 16) * 16
        old = slice(self._end - width, self._end)
        rows = min(self._size, len(self._live) + len(joining) + self._waiting.without_draft)
        self._cache.resize(len(self._live), old, slice(end - width, end), (rows, columns))
        self._end = end
