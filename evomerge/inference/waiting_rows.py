"""Rows that wait for a forward pass, with and without drafts: choose those that share the next one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from evomerge.inference.batch_rows import Row, RowModel
from evomerge.inference.deadline import Watch
from evomerge.inference.memory_limits import Limits
from evomerge.inference.prefix import SharedPrefix, portions, shared_prefixes


class WaitingRows:
    """The rows of a batch that are not live.

    Args:
        model: computes shared prefixes.
        rows: all of the batch.
        size: of the batch.
        watch: says which rows may not begin.
        cut: called with such a row.
    """

    def __init__(
        self,
        model: RowModel,
        rows: Sequence[Row],
        size: int,
        limits: Limits,
        watch: Watch,
        cut: Callable[[Row], None],
    ) -> None:
        self._model, self._size, self._limits, self._watch, self._cut = model, size, limits, watch, cut
        self._portions = self._with_prefixes(rows)
        self._plain: list[Row] = []  # without a draft
        self._drafted: list[Row] = []
        self._again: list[Row] = []  # with a draft, and with tokens of the answer

    def __bool__(self) -> bool:
        self._load()
        return bool(self._plain or self._drafted or self._again)

    @property
    def without_draft(self) -> int:
        """Number of rows that are going to join the live ones."""
        return len(self._plain)

    def add(self, row: Row) -> None:
        """Let a row wait that has begun."""
        (self._again if row.draft else self._plain).append(row)

    def to_verify(self, live: int) -> list[Row]:
        """Rows with drafts for one pass; none if the ``live`` rows had better go on first.

        Rows that have begun need few tokens each: they wait until they fill a pass, or until no more rows are live than
        wait. Live rows would not get faster without them.
        """
        self._load()
        if sum(bool(row.answer) for row in self._plain) >= self._size:
            return []  # their keys and values take as much memory as those of the live rows
        full = sum(row.new for row in self._again) >= self._limits.prefill_tokens // 4
        if full or 2 * len(self._again) >= self._size or (not self._drafted and len(self._again) >= max(1, live)):
            self._again.sort(key=lambda row: row.new)
            return self._next(self._again, self._size)
        return self._next(self._drafted, self._size)

    def to_admit(self, free: int) -> list[Row]:
        """At most ``free`` rows without drafts for one prefill."""
        self._load()
        return self._next(self._plain, free)

    def _load(self) -> None:
        if not (self._plain or self._drafted or self._again):
            for row in next(self._portions, []):
                (self._drafted if row.look_ahead() else self._plain).append(row)
            self._drafted.sort(key=lambda row: row.new)

    def _with_prefixes(self, rows: Sequence[Row]) -> Iterator[list[Row]]:
        """Rows in portions whose shared prefixes are stored, no more of them at a time than the limit allows.

        Rows are taken from the end of a portion. The longest answers are there, so that they start first and the batch
        does not end with a few of them; rows with prompts of similar length are neighbours, so that a prefill pads
        little.
        """
        groups = sorted(shared_prefixes([row.tokens for row in rows]), key=lambda group: group.length)
        alone = set(range(len(rows))).difference(*(group.members for group in groups))
        for portion in portions(groups, self._limits.cache_tokens) if groups else [[]]:
            self._store(portion, rows)
            members = [*alone, *(member for group in portion for member in group.members)]
            alone = set()
            yield sorted((rows[m] for m in sorted(members)), key=lambda row: (row.request.max_new_tokens, row.new))

    def _store(self, groups: Sequence[SharedPrefix], rows: Sequence[Row]) -> None:
        """Compute prefixes that ``rows`` share, after those that the prefixes share in turn."""
        firsts = [rows[group.members[0]] for group in groups]
        heads = [Row(f.index, f.request, f.tokens[: g.length]) for f, g in zip(firsts, groups, strict=True)]
        if shared := shared_prefixes([head.tokens for head in heads]):
            self._store(shared, heads)
        queue = sorted(heads, key=lambda head: head.new)
        while queue:
            self._watch.step()
            count = _fitting(queue[::-1], self._limits)
            self._model.store(queue[-count:])
            del queue[-count:]
        for group, head in zip(groups, heads, strict=True):
            for member in group.members:
                rows[member].prefix, rows[member].stored = head.prefix, head.stored

    def _next(self, queue: list[Row], free: int) -> list[Row]:
        """At most ``free`` rows from the end of ``queue`` for one pass; none if the watch lets no other row begin."""
        for place in range(len(queue) - 1, -1, -1):
            if self._watch.spent(queue[place].index):
                spent = queue.pop(place)
                spent.stored = None
                self._cut(spent)
        count = _fitting(queue[: -free - 1 : -1], self._limits)
        chosen = queue[len(queue) - count :][::-1]
        del queue[len(queue) - count :]
        return chosen


def _fitting(rows: Sequence[Row], limits: Limits) -> int:
    """How many of ``rows``, from the first on, one pass computes.

    It computes as many tokens of each row as of the one that needs most. Once that wastes as much as another pass
    costs, the rest get one.
    """
    size = needed = logits = 0
    for count, row in enumerate(rows):
        size, needed, logits = max(size, row.new), needed + row.new, logits + 1 + len(row.draft)
        computed = size * (count + 1)
        if count and (
            computed > limits.prefill_tokens
            or computed - needed > limits.pass_tokens
            or (row.draft and logits > limits.logits)
        ):
            return count
    return len(rows)
