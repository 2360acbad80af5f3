"""Settings of the backend that generates answers; light, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.errors import UserError
from evomerge.settings import check_choice
from evomerge.types import DTYPES


@dataclass(frozen=True)
class BackendSettings:
    """The keys of ``backend``.

    Attributes:
        kind: name of a registered backend.
        batch_size: rows decoded together.
        device: torch device; None: cuda where there is one, else cpu.
        dtype: of the computation, a torch dtype name; None: the one that the run in the folder began with, else the
            one that the device is fast in.
        drafts: whether answers of earlier models to the same items are verified instead of generated anew; answers are
            the same, up to rounding.

    Raises:
        UserError: a number out of range, or an unknown dtype.
    """

    kind: str = "hf"
    batch_size: int = 128
    device: str | None = None
    dtype: str | None = None
    drafts: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"backend.batch_size must be at least 1, got {self.batch_size}")
        check_choice("backend.dtype", self.dtype, DTYPES)
