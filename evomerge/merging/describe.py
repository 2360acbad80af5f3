"""The registry as the README's table."""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.merging.base import METHODS, MergeMethod


@dataclass(frozen=True)
class MethodRow:
    """One row of the table of methods."""

    name: str
    idea: str
    parameters: str
    experts: str
    space: str
    paper: str


def method_rows() -> list[MethodRow]:
    """A row for each registered method, by name."""
    return [_row(METHODS[name]) for name in METHODS]


def method_table() -> str:
    """The rows as a Markdown table."""
    lines = [
        "| Method | Idea | Parameters (searched range) | Experts | Space | Paper |",
        "|---|---|---|---|---|---|",
    ]
    for row in method_rows():
        cells = (f"`{row.name}`", row.idea, row.parameters or "-", row.experts, row.space, row.paper)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _row(method: MergeMethod) -> MethodRow:
    parameters = [
        f"{name} {domain.text}{suffix}"
        for group, suffix in ((method.expert_parameters, " per expert"), (method.parameters, ""))
        for name, (domain, _) in group.items()
    ]
    idea = method.summary.rstrip(".")
    return MethodRow(method.name, idea, ", ".join(parameters), method.experts, method.space, method.paper)
