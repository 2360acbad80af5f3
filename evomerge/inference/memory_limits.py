"""Limits on what a backend computes and holds at a time."""

from __future__ import annotations

from dataclasses import dataclass

# Bound on the keys and values of the rows being decoded, and again on those of stored prefixes.
CACHE_BYTES = 2 << 30


@dataclass(frozen=True)
class Limits:
    """Limits of one backend.

    Attributes:
        rows: requests decoded together.
        prefill_tokens: prompt tokens of one forward pass; more would not fit the processor's cache.
        cache_tokens: bound on the tokens whose keys and values are held for the rows being decoded, and again for the
            stored prefixes; long requests get fewer rows.
        pass_tokens: tokens whose computation takes as long as a forward pass of hardly any.
        logits: positions of drafts whose logits one pass computes; a large vocabulary makes them large.
    """

    rows: int = 64
    prefill_tokens: int = 1536
    cache_tokens: int = 1 << 16
    pass_tokens: int = 32
    logits: int = 256
