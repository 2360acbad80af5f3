"""Reorder the embeddings of models with different vocabularies to one output vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from evomerge.errors import UserError
from evomerge.tensors.lazy import LazyMatrix

# Values of ``Alignment.donor`` other than the number of a model.
ZERO, MEAN = -1, -2
# Rows are read in runs. A run includes gaps of at most this many unwanted rows between wanted ones.
_GAP = 4
# Largest number of wanted rows in a run: it bounds the memory for the unwanted ones.
_RUN = 1024


@dataclass(frozen=True)
class Vocabulary:
    """One model's tokens, and the number of its embedding's rows (with padding, more than tokens).

    Tokens with a number beyond the embedding count as absent.
    """

    tokens: Mapping[str, int]
    rows: int


@dataclass(frozen=True)
class TokenRow:
    """An entry of mergekit's ``tokenizer.tokens``: the row a token gets in models that lack it.

    Attributes:
        source: ``rule`` treats it as any other token; ``zero`` gives zeros; ``model`` gives a row of ``model``.
        model: model of the row, for source ``model``.
        token: row of that model, as a token's text, a row number, or None for the same token.
        force: whether models that have the token get the row too.
    """

    source: Literal["rule", "zero", "model"] = "rule"
    model: str | None = None
    token: str | int | None = None
    force: bool = False


@dataclass(frozen=True)
class Alignment:
    """The row of each model's embedding for each row of the output vocabulary.

    Attributes:
        models: names (M,) of the models, in the order of ``position``.
        position: row of each model's embedding, (M, R) int64; -1 for tokens that the model lacks.
        donor: source of the row for models that lack it, (R,) int64: the number of a model, ``ZERO``, or ``MEAN`` (of
            the models that have it).
        donor_row: row of the donor, (R,) int64.
        forced: whether every model gets the donor's row, (R,) bool.
        padding: first row without a token; from it on, each row is the mean of the model's rows before it.
    """

    models: tuple[str, ...]
    position: torch.Tensor
    donor: torch.Tensor
    donor_row: torch.Tensor
    forced: torch.Tensor
    padding: int

    @property
    def rows(self) -> int:
        """R, the length of the merged embedding."""
        return self.position.shape[1]

    def is_identity(self, model: str) -> bool:
        """Whether the model keeps all of its rows in their order."""
        own = self.position[self.models.index(model)]
        return not bool(self.forced.any()) and torch.equal(own, torch.arange(self.rows))


def align(
    models: Mapping[str, Vocabulary],
    output: Mapping[str, int],
    rows: int,
    padding: int | None = None,
    base: str | None = None,
    overrides: Mapping[str, TokenRow] | None = None,
) -> Alignment:
    """Find the source of each output row by mergekit's rule.

    A model that lacks a token gets the base's row. If the base lacks it too, the model gets the mean over the models
    that have the token, or the row of the only one. Tokens that no model has get zeros.

    Rows without a token (padding of an embedding) go to the rows without a token of the same number.

    Args:
        models: vocabularies of M models by name.
        output: row of the output by token.
        rows: length of the output embedding.
        padding: first row of new padding; default: no new padding.
        base: name of the model whose row is preferred for tokens of several models.
        overrides: entries for single tokens; each token must be in ``output``.

    Raises:
        UserError: an override names a missing model, token or row.
    """
    padding = rows if padding is None else padding
    texts = list(output)
    places = np.fromiter(output.values(), np.int64, len(texts))
    nameless = np.ones(padding, dtype=bool)
    nameless[places] = False
    position = np.full((len(models), rows), -1, dtype=np.int64)
    for own, vocabulary in zip(position, models.values(), strict=True):
        # map() over dict.get stays in C: 150 000 tokens take milliseconds
        found = np.fromiter(map(vocabulary.tokens.get, texts, repeat(-1)), np.int64, len(texts))
        own[places] = np.where(found < vocabulary.rows, found, -1)
        both = _nameless(vocabulary)[:padding]
        both &= nameless[: len(both)]
        own[: len(both)][both] = np.flatnonzero(both)

    present = position >= 0
    donor = np.where(present.any(0), MEAN, ZERO)
    sole = present.sum(0) == 1
    donor[sole] = present.argmax(0)[sole]
    names = tuple(models)
    if base in names:
        donor[present[names.index(base)]] = names.index(base)
    donor_row = np.take_along_axis(position, np.maximum(donor, 0)[None], axis=0)[0]
    forced = np.zeros(rows, dtype=bool)
    for token, override in (overrides or {}).items():
        row = output[token]
        forced[row] = override.force
        if override.source == "rule":
            if override.force:
                raise UserError(f"token {token!r} has force but no source: give a model or zero (tokenizer.tokens)")
            continue
        donor[row], donor_row[row] = _donor(token, override, models)
    return Alignment(
        models=names,
        position=torch.from_numpy(position),
        donor=torch.from_numpy(donor),
        donor_row=torch.from_numpy(donor_row),
        forced=torch.from_numpy(forced),
        padding=padding,
    )


@dataclass(frozen=True, eq=False)
class PermutedRows(LazyMatrix):
    """One model's embedding (or output head) in the output vocabulary, assembled when it is read.

    Attributes:
        alignment: alignment of all models.
        model: number of this model in the alignment.
        sources: embeddings of all models, in the alignment's order; they may differ in length, not in width.

    The dtype is the promoted dtype of the sources; if rows are averaged, it is at least float32, to avoid rounding.
    """

    alignment: Alignment
    model: int
    sources: Sequence[LazyMatrix] = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.alignment.rows, *self._rest)

    @property
    def parts(self) -> tuple[LazyMatrix, ...]:
        return tuple(self.sources)

    @property
    def origin(self) -> str:
        return self.sources[self.model].origin

    def fill(self, out: torch.Tensor, start: int, stop: int) -> None:
        out.copy_(self.rows(start, stop))

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows ``start`` to ``stop``: (stop - start, *rest). It reads only the rows that these need."""
        alignment = self.alignment
        out = torch.zeros(stop - start, *self._rest, dtype=self.dtype)
        own = alignment.position[self.model, start:stop]
        keeps = (own >= 0) & ~alignment.forced[start:stop]
        _put(out, keeps, self.sources[self.model], own)
        donor = torch.where(keeps, ZERO, alignment.donor[start:stop])
        for number in np.unique(donor.numpy()).tolist():
            where = donor == number
            if number >= 0:
                _put(out, where, self.sources[number], alignment.donor_row[start:stop])
            elif number == MEAN:
                self._put_means(out, where, start, stop)
        if stop > alignment.padding:
            out[max(0, alignment.padding - start) :] = self._average
        return out

    @cached_property
    def dtype(self) -> torch.dtype:
        dtypes = [source.dtype for source in self.sources]
        if self.alignment.padding < self.alignment.rows or bool((self.alignment.donor == MEAN).any()):
            dtypes.append(torch.float32)
        dtype = dtypes[0]
        for other in dtypes[1:]:
            dtype = torch.promote_types(dtype, other)
        return dtype

    @cached_property
    def _rest(self) -> tuple[int, ...]:
        shapes = [source.shape[1:] for source in self.sources]
        for name, shape in zip(self.alignment.models, shapes, strict=True):
            if shape != shapes[0]:
                raise UserError(
                    f"embeddings must have the same width, got {list(shapes[0])} in {self.alignment.models[0]} and "
                    f"{list(shape)} in {name}: only models of one architecture and size can be merged"
                )
        return shapes[0]

    @cached_property
    def _average(self) -> torch.Tensor:
        """Mean of the rows before the padding: new rows with this value disturb a softmax least."""
        total = torch.zeros(self._rest, dtype=torch.float64)
        for start in range(0, self.alignment.padding, _RUN):
            total += self.rows(start, min(start + _RUN, self.alignment.padding)).double().sum(0)
        return (total / self.alignment.padding).to(self.dtype)

    def _put_means(self, out: torch.Tensor, where: torch.Tensor, start: int, stop: int) -> None:
        total = torch.zeros_like(out)
        count = torch.zeros(len(out), dtype=self.dtype)
        for source, position in zip(self.sources, self.alignment.position[:, start:stop], strict=True):
            has = where & (position >= 0)
            part = torch.zeros_like(out)
            _put(part, has, source, position)
            total += part
            count += has
        out[where] = (total / count.clamp_min(1).view(-1, *([1] * (out.ndim - 1))))[where]


def permuted(alignment: Alignment, sources: Mapping[str, LazyMatrix]) -> dict[str, PermutedRows]:
    """Each model's embedding in the output vocabulary; ``sources`` holds embeddings by the alignment's model names."""
    ordered = tuple(sources[name] for name in alignment.models)
    return {name: PermutedRows(alignment, number, ordered) for number, name in enumerate(alignment.models)}


def gather(source: LazyMatrix, index: torch.Tensor) -> torch.Tensor:
    """The rows at ``index`` (int64, (k,), any order, repeats allowed): (k, *rest), read in runs of neighbours."""
    wanted, inverse = np.unique(index.numpy(), return_inverse=True)
    if not len(wanted):
        return source.rows(0, 0)
    pieces = []
    for first, last in _runs(wanted):
        low, high = int(wanted[first]), int(wanted[last - 1]) + 1
        run = source.rows(low, high)
        pieces.append(run if high - low == last - first else run[torch.from_numpy(wanted[first:last] - low)])
    rows = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    return rows if len(wanted) == len(index) and bool((inverse[1:] > inverse[:-1]).all()) else rows[inverse]


def _runs(wanted: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Bounds, in the sorted ``wanted``, of runs to read at once."""
    ends = np.flatnonzero(np.diff(wanted) > _GAP) + 1
    bounds = [0, *ends.tolist(), len(wanted)]
    return [
        (first, min(first + _RUN, bounds[i + 1]))
        for i in range(len(bounds) - 1)
        for first in range(bounds[i], bounds[i + 1], _RUN)
    ]


def _put(out: torch.Tensor, where: torch.Tensor, source: LazyMatrix, position: torch.Tensor) -> None:
    """``out[where]`` = the source's rows at ``position[where]``."""
    if bool(where.all()):
        out.copy_(gather(source, position))
    elif bool(where.any()):
        out[where] = gather(source, position[where]).to(out.dtype)


def _nameless(vocabulary: Vocabulary) -> NDArray[np.bool_]:
    rows = np.fromiter(vocabulary.tokens.values(), np.int64, len(vocabulary.tokens))
    nameless = np.ones(vocabulary.rows, dtype=bool)
    nameless[rows[rows < vocabulary.rows]] = False
    return nameless


def _donor(token: str, override: TokenRow, models: Mapping[str, Vocabulary]) -> tuple[int, int]:
    if override.source == "zero":
        return ZERO, 0
    at = f"tokenizer.tokens, token {token!r}"
    if override.model is None or override.model not in models:
        raise UserError(f"{at}: model {override.model} is not among the merged ones: {', '.join(models)}")
    vocabulary = models[override.model]
    wanted = token if override.token is None else override.token
    row = vocabulary.tokens.get(wanted) if isinstance(wanted, str) else wanted
    if row is None:
        raise UserError(f"{at}: {override.model} has no token {wanted!r}; give a token_id, or another token or source")
    if not 0 <= row < vocabulary.rows:
        raise UserError(
            f"{at}: {override.model} has no row {row}, its embedding has {vocabulary.rows}; give a row below that"
        )
    return list(models).index(override.model), row
