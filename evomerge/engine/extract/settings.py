"""Settings of an extracted adapter's content. The module imports no torch, so that it loads fast."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from evomerge.errors import UserError, nearest

POLICIES = ("skip", "full", "lora")
#: Ways to decompose a matrix.
SVDS = ("randomized", "full")


@dataclass(frozen=True)
class ExtractSettings:
    """The keys of ``extract``.

    Attributes:
        embeddings: policy of embeddings and output head: ``skip``; ``lora``; ``full`` stores the whole matrix.
        norms: policy of norms and other vectors: ``skip`` or ``full``.
        biases: policy of linear layers' biases; ``lora`` stores them with the factors, ``full`` stores the whole layer.
        added_tokens: policy of vocabulary rows that the base lacks: ``skip`` or ``full`` (the whole matrix).
        include, exclude: regular expressions on module paths; the adapter holds the modules that match one of
            ``include`` (or all, if it is empty) and none of ``exclude``.
        max_rank: largest rank of a layer, for ``energy`` and ``parameters``.
        distribute_scale: whether each factor gets the square root of the singular values; otherwise A gets them all.
        sv_epsilon: largest singular value to drop.
        correct_mean: whether one direction of each layer holds the mean of the residual in each row.
        compress: whether adapters are compressed before they are merged.

    Raises:
        UserError: a policy is unknown or impossible for its kind of parameter, a pattern is no regular expression, or a
            number is out of range.
    """

    embeddings: str = "skip"
    norms: str = "skip"
    biases: str = "skip"
    added_tokens: str = "skip"
    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    max_rank: int | None = None
    distribute_scale: bool = True
    sv_epsilon: float = 0.0
    correct_mean: bool = False
    compress: bool = False

    def __post_init__(self) -> None:
        for key in ("embeddings", "norms", "biases", "added_tokens"):
            if getattr(self, key) not in POLICIES:
                raise UserError(f"unknown {key} '{getattr(self, key)}': {nearest(getattr(self, key), POLICIES)}")
        for key, what in (("norms", "vectors have no low rank"), ("added_tokens", "the base has no rows for them")):
            if getattr(self, key) == "lora":
                raise UserError(f"{key}=lora cannot be, {what}: wanted skip or full")
        for key in ("include", "exclude"):
            for pattern in getattr(self, key):
                try:
                    re.compile(pattern)
                except re.error as error:
                    raise UserError(f"{key}: '{pattern}' is no regular expression ({error})") from error
        if self.max_rank is not None and self.max_rank < 1:
            raise UserError(f"max_rank must be at least 1, got {self.max_rank}")
        if self.sv_epsilon < 0.0:
            raise UserError(f"sv_epsilon must not be negative, got {self.sv_epsilon:g}")
