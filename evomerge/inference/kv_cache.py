"""Key/value cache written in place, whose rows come and go while the batch decodes.

All rows end at the same column; a row of n tokens occupies the n columns before it. Columns right of the end are not
yet written (hidden by causality), columns left of a row's first token are hidden by the attention mask. The model
always sees the whole width of the buffers, so that they stay contiguous: batched products of strided bfloat16 views
leave the fast kernels. The width is therefore kept tight and grows by a block at a time.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin

from evomerge.inference.chosen_positions import logits_only_at


class _Layer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values, each (rows, heads, columns, head size); a forward pass sees rows ``first`` to
    ``last``."""

    is_sliding = False

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns
        self.first, self.last, self.end = 0, rows, 0
        self._memory: dict[str, Tensor] = {}

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = (
            # zeros: a masked column has weight 0, and 0 times leftover NaN would be NaN
            torch.zeros(self.rows, x.shape[1], self.columns, x.shape[3], dtype=x.dtype, device=x.device)
            for x in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        keys, values = self.keys[self.first : self.last], self.values[self.first : self.last]
        end = self.end + key_states.shape[2]
        keys[:, :, self.end : end] = key_states
        values[:, :, self.end : end] = value_states
        self.end = end
        return keys, values

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.columns, 0

    def get_seq_length(self) -> int:
        return self.end

    def get_max_length(self) -> int:
        return -1

    def resize(self, rows: int, old: slice, new: slice, shape: tuple[int, int]) -> None:
        """Move the columns ``old`` of the first ``rows`` rows to ``new`` in fresh buffers of ``shape`` rows and
        columns."""
        self.rows, self.columns = shape
        if not self.is_initialized:
            return
        for name in ("keys", "values"):
            buffer = getattr(self, name)
            fresh = buffer.new_zeros(self.rows, buffer.shape[1], self.columns, buffer.shape[3])
            fresh[:rows, :, new] = buffer[:rows, :, old]
            setattr(self, name, fresh)

    def clear(self, rows: int, columns: int) -> None:
        """Begin anew with another shape, in the same memory if that is large enough: fresh memory can take as long as
        a tenth of the forward pass."""
        self.rows, self.columns = rows, columns
        if not self.is_initialized:
            return
        for name in ("keys", "values"):
            buffer = getattr(self, name)
            size = rows * buffer.shape[1] * columns * buffer.shape[3]
            memory = self._memory.get(name, buffer.view(-1))
            if memory.numel() < size:
                memory = buffer.new_empty(size)
            self._memory[name] = memory
            setattr(self, name, memory[:size].view(rows, buffer.shape[1], columns, buffer.shape[3]).zero_())


class RowCache(Cache):  # type: ignore[misc]
    """Cache of ``rows`` rows and ``columns`` columns in each of ``layers`` layers."""

    def __init__(self, layers: int, rows: int, columns: int) -> None:
        super().__init__(layers=[_Layer(rows, columns) for _ in range(layers)])
        self.rows, self.columns = rows, columns

    @property
    def token_bytes(self) -> int:
        """Size of a token's keys and values over all layers, once something has been written."""
        buffers = [buffer for layer in self.layers for buffer in (layer.keys, layer.values)]
        return sum(buffer.shape[1] * buffer.shape[3] * buffer.itemsize for buffer in buffers)

    def select(self, first: int, last: int, end: int) -> None:
        """Let the next forward pass see the rows ``first`` to ``last`` and write from column ``end`` on."""
        for layer in self.layers:
            layer.first, layer.last, layer.end = first, last, end

    def resize(self, rows: int, old: slice, new: slice, shape: tuple[int, int]) -> None:
        """Keep the columns ``old`` of the first ``rows`` rows, as columns ``new`` of a cache of ``shape`` rows and
        columns."""
        self.rows, self.columns = shape
        for layer in self.layers:
            layer.resize(rows, old, new, shape)

    def clear(self, rows: int, columns: int) -> None:
        """Become an empty cache of ``rows`` rows and ``columns`` columns, without new memory where possible."""
        self.rows, self.columns = rows, columns
        for layer in self.layers:
            layer.clear(rows, columns)

    def move_row(self, source: int, target: int) -> None:
        """Copy row ``source`` over row ``target``."""
        for layer in self.layers:
            layer.keys[target].copy_(layer.keys[source])
            layer.values[target].copy_(layer.values[source])

    def copy_from(self, other: RowCache, source: tuple[int, slice], target: tuple[int, slice]) -> None:
        """Copy (row, columns) of another cache of the same model to (row, columns) of this one."""
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            if not mine.is_initialized:
                mine.lazy_initialization(theirs.keys, theirs.values)
            mine.keys[target[0], :, target[1]] = theirs.keys[source[0], :, source[1]]
            mine.values[target[0], :, target[1]] = theirs.values[source[0], :, source[1]]


def cache_argument(model: PreTrainedModel) -> str | None:
    """Name of the cache among the arguments of ``model.forward``: transformers renamed it in 5.24."""
    accepted = inspect.signature(model.forward).parameters
    return next((name for name in ("cache", "past_key_values") if name in accepted), None)


def forward_rows(
    model: PreTrainedModel,
    argument: str,
    inputs: Tensor,
    positions: Tensor,
    starts: Tensor,
    cache: RowCache,
    counts: Sequence[int],
) -> Tensor:
    """Logits (sum of ``counts``, vocabulary) after the last tokens of the rows that ``cache`` has selected.

    Args:
        argument: name of the cache among forward's.
        inputs: (rows, q) token ids.
        positions: (rows, q) of the tokens in their texts.
        starts: (rows,) first column of each row.
        counts: after how many of its last tokens each row wants logits.
    """
    mask = torch.arange(cache.columns)[None, :] >= starts[:, None]
    longest = max(counts)
    wanted = torch.arange(longest, 0, -1)[None, :] <= torch.tensor(counts)[:, None]
    with logits_only_at(model, wanted.to(model.device)) if longest > 1 else nullcontext(_last) as chosen:
        output = model(
            input_ids=inputs.to(model.device),
            attention_mask=mask.to(model.device),
            position_ids=positions.to(model.device),
            use_cache=True,
            logits_to_keep=longest,
            **{argument: cache},
        )
    return chosen(output.logits)


def _last(logits: Tensor) -> Tensor:
    return logits[:, -1]
