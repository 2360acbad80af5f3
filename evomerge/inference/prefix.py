"""Find the beginnings that several prompts share and that are worth computing once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class SharedPrefix:
    """``members`` (indices of prompts) begin with the same ``length`` tokens."""

    length: int
    members: tuple[int, ...]


@dataclass
class _Node:
    """The sorted prompts from position ``left`` on that share ``length`` tokens, and the best sharing inside."""

    length: int
    left: int
    saved: int = 0
    groups: list[SharedPrefix] = field(default_factory=list)

    def add(self, part: _Node) -> None:
        self.saved += part.saved
        self.groups += part.groups


def shared_prefixes(prompts: Sequence[Tokens], shortest: int = 16, least: int = 48) -> list[SharedPrefix]:
    """Disjoint groups of prompts and their common prefixes, saving many prompt tokens.

    Args:
        prompts: token lists of whole prompts: a prefix is shared only where the tokens agree. Tokenising pieces apart
            would not guarantee that.
        shortest: shorter prefixes are left alone.
        least: smallest saving of a group, (members - 1) x length tokens; less is not worth a forward pass.

    A group's prefix is at least one token shorter than each member, whose last token gives the first answer token.
    The candidates for a group are the intervals of the sorted prompts with one common prefix, which form a tree
    (Abouelhoda et al. 2004, LCP intervals); a node either shares its own prefix or leaves that to its
    children, whichever saves more. Prefixes that begin alike may share that beginning in turn: call it with them.
    """
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    common = [_common(prompts[a], prompts[b]) for a, b in pairwise(order)]
    stack = [_Node(0, 0)]
    for position, length in enumerate([*common, -1]):
        left, part = position, None
        while stack and stack[-1].length > length:
            part = stack.pop()
            left = part.left
            _settle(part, order[left : position + 1], shortest, least)
            if stack and stack[-1].length >= length:
                stack[-1].add(part)
                part = None
        if stack and stack[-1].length < length:
            stack.append(_Node(length, left))
            if part is not None:
                stack[-1].add(part)
    return part.groups if part is not None else []


def portions(groups: Sequence[SharedPrefix], tokens: int) -> Iterator[list[SharedPrefix]]:
    """Cut groups into portions whose prefixes have at most ``tokens`` tokens together; a longer one is a portion by
    itself."""
    portion: list[SharedPrefix] = []
    held = 0
    for group in groups:
        if portion and held + group.length > tokens:
            yield portion
            portion, held = [], 0
        portion.append(group)
        held += group.length
    if portion:
        yield portion


def _common(a: Tokens, b: Tokens) -> int:
    """Length of the common prefix, at most one less than either length."""
    limit = min(len(a), len(b)) - 1
    return next((i for i in range(limit) if a[i] != b[i]), max(limit, 0))


def _settle(node: _Node, members: list[int], shortest: int, least: int) -> None:
    """Share the node's own prefix if that saves more than its children save."""
    saved = (len(members) - 1) * node.length
    if node.length >= shortest and saved >= least and saved > node.saved:
        node.saved = saved
        node.groups = [SharedPrefix(node.length, tuple(sorted(members)))]
