"""Refuse duplicate experts, and the base as an expert."""

from __future__ import annotations

from collections.abc import Sequence

from evomerge.errors import UserError
from evomerge.types import Expert


def check_models(base: str, experts: Sequence[Expert], needs_base: bool, where: str) -> None:
    """Refuse one model as two experts, and the base as an expert: both are slips of the pen.

    Args:
        base: the base's source.
        experts: all of them.
        needs_base: whether the method takes differences to the base; others may average the base with the experts.
        where: file and key, for errors.

    Raises:
        UserError: names the experts.
    """
    seen: dict[str, str] = {}
    for number, expert in enumerate(experts):
        at = f"{where}[{number}]"
        if expert.source in seen:
            raise UserError(
                f"experts '{seen[expert.source]}' and '{expert.name}' are one model, {expert.source}: "
                f"give each its own, or drop one ({at})"
            )
        if needs_base and expert.source == base:
            raise UserError(
                f"expert '{expert.name}' is the base itself, from which it differs in nothing: "
                f"name the fine-tuned model, or drop the expert ({at})"
            )
        seen[expert.source] = expert.name
