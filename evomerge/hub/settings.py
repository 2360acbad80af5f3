"""Settings of an upload to the hub; light."""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.errors import UserError, nearest

KINDS = ("model", "lora")


@dataclass(frozen=True)
class HubSettings:
    """The keys of ``hub``: what ``push_to_hub=ORG/NAME`` uploads.

    Attributes:
        kind: ``model`` (best/model) or ``lora`` (best/lora).
        private: whether only members see the repository.

    Raises:
        UserError: an unknown kind.
    """

    kind: str = "model"
    private: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UserError(f"unknown hub.kind '{self.kind}': {nearest(self.kind, KINDS)}")
