"""The registry as the README's table."""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.merging.modifiers import MODIFIERS
from evomerge.merging.registry import METHODS, MergeMethod


@dataclass(frozen=True)
class MethodRow:
    """One row of the table of methods."""

    name: str
    idea: str
    parameters: str
    experts: str
    base: str
    space: str
    paper: str


def method_rows() -> list[MethodRow]:
    """A row for each registered method, by name."""
    return [_row(METHODS[name]) for name in METHODS]


def method_table() -> str:
    """The rows as a Markdown table."""
    lines = [
        "| Method | Idea | Parameters (searched range) | Experts | Base | Works on | Paper |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in method_rows():
        lines.append(_line(f"`{row.name}`", row.idea, row.parameters, row.experts, row.base, row.space, row.paper))
    return "\n".join(lines) + "\n"


def modifier_table() -> str:
    """The modifiers as a Markdown table."""
    lines = ["| Modifier | Idea | Parameters | Paper |", "|---|---|---|---|"]
    lines += [_line(f"`{row.name}`", row.idea, row.parameters, row.paper) for row in modifier_rows()]
    return "\n".join(lines) + "\n"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') or '-' for cell in cells)} |"


def _row(method: MergeMethod) -> MethodRow:
    parameters = [
        f"{name} {domain.text}{suffix}"
        for group, suffix in ((method.expert_parameters, " per expert"), (method.parameters, ""))
        for name, (domain, _) in group.items()
    ]
    base = "yes" if method.inputs == "deltas" or method.space == "core" else "optional" if method.needs_base else "no"
    space = "low rank" if method.space == "core" else "dense"
    idea = method.summary.rstrip(".")
    return MethodRow(method.name, idea, ", ".join(parameters), method.experts, base, space, method.paper)


def modifier_rows() -> list[MethodRow]:
    """A row for each modifier that a recipe can name beside its method."""
    found = []
    for name in MODIFIERS:
        one = MODIFIERS[name]
        parameters = ", ".join(f"{key} {domain.text}" for key, (domain, _) in one.parameters.items())
        found.append(MethodRow(name, one.summary.rstrip("."), parameters, "any method", "yes", "both", one.paper))
    return found
