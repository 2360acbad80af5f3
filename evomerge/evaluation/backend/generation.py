"""Decoding of many short requests: a batch that stays full, prompts whose shared beginnings are computed once.

Rows leave the moment they are done and waiting requests take their places. Every row is right-aligned at the batch's
last column (see kv_cache). A prefill forwards the last S tokens of each new row, S being the longest part in the chunk
that is not covered by a shared prefix: where a row needs fewer, S recomputes some of its prefix instead of padding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from evomerge.evaluation.backend.base import GenerationRequest
from evomerge.evaluation.backend.kv_cache import RowCache
from evomerge.evaluation.backend.plain import cache_argument
from evomerge.evaluation.backend.prefix import SharedPrefix, Tokens, shared_prefixes
from evomerge.evaluation.backend.sampling import sample
from evomerge.evaluation.backend.text import TextCodec, end_tokens
from evomerge.evaluation.backend.watch import Watch

# Columns by which the cache grows. A growth copies it: rarer with larger blocks; attention pays for unused columns.
_BLOCK = 32
# Requests longer than this are decoded apart from shorter ones, which would pay for their width in memory.
_SHORT = 1024

SetRows = Callable[[Tensor], None]


@dataclass
class _Row:
    """One request on its way."""

    index: int
    request: GenerationRequest
    tokens: Tokens
    prefix: int = 0
    stored: _Stored | None = None
    answer: list[int] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.tokens) + len(self.answer)


@dataclass(frozen=True)
class _Stored:
    """A computed prefix: columns ``start`` onwards of ``row`` in ``cache``."""

    cache: RowCache
    row: int
    start: int


@dataclass(frozen=True)
class Limits:
    """How much at a time.

    Attributes:
        rows: requests decoded together.
        prefill_tokens: prompt tokens per forward; more fall out of the processor's cache.
        cache_bytes: bound on the key/value cache; long requests get fewer rows.
    """

    rows: int = 64
    prefill_tokens: int = 1536
    cache_bytes: int = 2 << 30


class GreedyDecoder:
    """Answers of a causal language model whose layers all keep plain keys and values.

    Args:
        model: in eval mode, prepared by :func:`evomerge.evaluation.backend.attention.install`.
        codec: its tokenizer.
        set_rows: told the candidate of each row, (rows,) long, before every forward whose rows differ from the last.
    """

    def __init__(
        self, model: PreTrainedModel, codec: TextCodec, limits: Limits, set_rows: SetRows | None = None
    ) -> None:
        self._model, self._codec, self._limits, self._set_rows = model, codec, limits, set_rows
        name = cache_argument(model)
        assert name is not None, "a model without a cache is not decoded here"
        self._cache_argument = name
        self._device = model.device
        self._eos = end_tokens(model, codec)
        config = model.config.get_text_config()
        self._layers: int = config.num_hidden_layers
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self._bytes_per_token = 2 * self._layers * heads * size * model.dtype.itemsize
        self._told: list[int] = []
        self._answers: list[str] = []
        self.watch = Watch()

    @torch.inference_mode()
    def generate(self, requests: Sequence[GenerationRequest], watch: Watch | None = None) -> list[str]:
        """Answers in the order of ``requests``."""
        rows = [_Row(i, r, self._codec.prompt(self._model, r)) for i, r in enumerate(requests)]
        self._told, self._answers, self.watch = [], [""] * len(rows), watch or Watch()
        classes: dict[int, list[_Row]] = {}
        for row in rows:
            total = len(row.tokens) + row.request.max_new_tokens
            classes.setdefault(max(_SHORT, 1 << (total - 1).bit_length()), []).append(row)
        for _, members in sorted(classes.items()):
            _Batch(self, members).run()
        return self._answers

    def forward(
        self, rows: Sequence[_Row], inputs: Tensor, positions: Tensor, starts: Tensor, cache: RowCache
    ) -> list[int]:
        """Next token of each row.

        Args:
            inputs: (rows, q) token ids; positions: (rows, q); starts: (rows,) first column of each row.
        """
        if self._set_rows is not None:
            candidates = [row.request.candidate for row in rows]
            if candidates != self._told:
                self._set_rows(torch.tensor(candidates))
                self._told = candidates
        mask = torch.arange(cache.columns)[None, :] >= starts[:, None]
        output = self._model(
            input_ids=inputs.to(self._device),
            attention_mask=mask.to(self._device),
            position_ids=positions.to(self._device),
            **{self._cache_argument: cache},
            use_cache=True,
            logits_to_keep=1,
        )
        logits = output.logits[:, -1]
        tokens: list[int] = argmax(logits).tolist()
        for k, row in enumerate(rows):
            if row.request.temperature:
                tokens[k] = sample(logits[k], row.request, len(row.answer))
        return tokens

    def done(self, row: _Row) -> bool:
        """Whether the row's last token ends it; an end-of-sequence token is dropped from the answer."""
        if row.answer[-1] in self._eos:
            row.answer.pop()
            return True
        return len(row.answer) >= row.request.max_new_tokens or self._codec.stopped(row.answer, row.request.until)

    def end(self, row: _Row, cut: bool = False) -> None:
        """Take down the row's answer."""
        text = self._codec.answer(row.answer, row.request.until)
        self._answers[row.index] = text
        self.watch.end(row.index, text, cut)

    def prefill(self, rows: Sequence[_Row], first: int, end: int, cache: RowCache) -> list[int]:
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

    def store_prefixes(self, rows: list[_Row]) -> None:
        """Compute the prefixes that ``rows``, all of one candidate, share; the rows then know where theirs lies."""
        groups = shared_prefixes([row.tokens for row in rows])
        groups.sort(key=lambda group: group.length)
        for chunk in _chunks(groups, self._limits.prefill_tokens, lambda group: group.length):
            longest = max(group.length for group in chunk)
            cache = RowCache(self._layers, len(chunk), longest)
            heads = [rows[group.members[0]] for group in chunk]
            self.prefill(
                [_Row(h.index, h.request, h.tokens[: g.length]) for h, g in zip(heads, chunk, strict=True)],
                0,
                longest,
                cache,
            )
            for number, group in enumerate(chunk):
                for member in group.members:
                    rows[member].prefix = group.length
                    rows[member].stored = _Stored(cache, number, longest - group.length)

    def rows_within(self, columns: int) -> int:
        """How many rows of ``columns`` columns are decoded together."""
        fitting: int = self._limits.cache_bytes // (self._bytes_per_token * columns)
        return max(1, min(self._limits.rows, fitting))

    @property
    def prefill_tokens(self) -> int:
        return self._limits.prefill_tokens


class _Batch:
    """One run over rows of similar size: the waiting ones, the live ones, and their cache."""

    def __init__(self, decoder: GreedyDecoder, rows: list[_Row]) -> None:
        self._decoder = decoder
        # By candidate, so that one candidate's stored prefixes are in memory at a time; longest answers first, so that
        # the batch is not left with a few long ones; similar prompts together, so that chunks waste little.
        self._waiting: list[list[_Row]] = []
        for candidate in sorted({row.request.candidate for row in rows}):
            self._waiting.append([row for row in rows if row.request.candidate == candidate])
        self._queue: list[_Row] = []
        columns = max(len(row.tokens) + row.request.max_new_tokens for row in rows) + _BLOCK
        self._size = min(decoder.rows_within(columns), len(rows))
        self._end = 0
        self._live: list[_Row] = []
        self._cache = RowCache(decoder._layers, self._size, 0)

    def run(self) -> None:
        while self._live or self._queue or self._waiting:
            self._decoder.watch.step()
            free = self._size - len(self._live)
            if (self._queue or self._waiting) and free >= max(1, self._size // 8):
                self._admit(free)
            elif self._live:
                self._step()

    def _next(self, free: int) -> list[_Row]:
        """At most ``free`` waiting rows that fit one prefill; none if the rest may not begin any more."""
        if not self._queue:
            self._queue = self._waiting.pop(0)
            self._decoder.store_prefixes(self._queue)
            self._queue.sort(key=lambda row: (row.request.max_new_tokens, len(row.tokens) - row.prefix))
        chosen: list[_Row] = []
        size = 0
        while self._queue and len(chosen) < free:
            if self._decoder.watch.spent(self._queue[-1].index):
                self._decoder.end(self._queue.pop(), cut=True)
                continue
            size = max(size, len(self._queue[-1].tokens) - self._queue[-1].prefix)
            if chosen and size * (len(chosen) + 1) > self._decoder.prefill_tokens:
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
        tokens = self._decoder.prefill(rows, len(self._live), self._end, self._cache)
        self._live += rows
        for row in rows:
            row.stored = None  # the last user of a stored prefix frees it
        self._take(tokens, len(self._live) - len(rows))

    def _step(self) -> None:
        if self._end == self._cache.columns:
            self._resize(max(row.length for row in self._live) - 1)
        rows = self._live
        # The cache holds all but each row's newest token.
        lengths = torch.tensor([row.length - 1 for row in rows])
        inputs = torch.tensor([row.answer[-1:] for row in rows])
        self._cache.select(0, len(rows), self._end)
        tokens = self._decoder.forward(rows, inputs, lengths[:, None], self._end - lengths, self._cache)
        self._end += 1
        self._take(tokens, 0)

    def _take(self, tokens: Iterable[int], first: int) -> None:
        """Append each live row's next token, from row ``first`` on; rows that are done leave, the last rows fill in."""
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


def argmax(logits: Tensor) -> Tensor:
    """Index of the first largest entry of each row of ``logits`` (rows, vocabulary).

    torch.argmax of bfloat16 on a CPU takes ten times the matrix product that made the logits; amax is vectorised, and
    then only the block that holds the maximum is searched.
    """
    rows, vocabulary = logits.shape
    block = next((size for size in (512, 256, 128, 64) if vocabulary % size == 0), 0)
    if logits.device.type != "cpu" or not block:
        return logits.argmax(-1)
    blocks = logits.view(rows, -1, block)
    best = blocks.amax(-1).float().argmax(-1)
    inside = blocks[torch.arange(rows), best].float().argmax(-1)
    return best * block + inside


def _chunks(
    items: Sequence[SharedPrefix], tokens: int, length: Callable[[SharedPrefix], int]
) -> Iterable[list[SharedPrefix]]:
    """Cut ``items`` so that count x longest stays within ``tokens`` (single longer items stand alone)."""
    chunk: list[SharedPrefix] = []
    for item in items:
        if chunk and (len(chunk) + 1) * max(length(item), *(length(i) for i in chunk)) > tokens:
            yield chunk
            chunk = []
        chunk.append(item)
    if chunk:
        yield chunk
