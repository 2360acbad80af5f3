"""The registered methods and modifiers as tables, and docs/methods.md."""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.merging.modifiers import MODIFIERS
from evomerge.merging.parameters import Value
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


def methods_page() -> str:
    """The whole text of docs/methods.md: ``evomerge job=methods write=docs/methods.md`` writes it."""
    return f"""\
# Merge methods

`evomerge job=methods` prints this list, `evomerge job=methods write=docs/methods.md` writes this page.

- *Base*: whether a method merges differences to a base model.
- *Works on*: `low rank` methods work on the LoRA factors alone, in the experts' common basis. A candidate costs
  milliseconds, and the result is a LoRA again.
- A range `a..b` is searched. An interval or a choice is an option of a recipe; its default follows the equals sign.
- `average` says what the sum of the agreeing experts is divided by: their number, the sum of their weights, or nothing.
- `rescale` says how a sparsified delta is rescaled: by 1 / density, or to its L1 norm.
- `scale` is a factor on the merged delta.

{method_table()}
## Modifiers

Any method can take a modifier: `modifiers: {{lines: {{alpha: 1.0, beta: 0.3}}}}` in a recipe, `space.modifiers=[lines]`
in a search.

{modifier_table()}"""


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


def _text(value: Value) -> str:
    return str(value).lower() if isinstance(value, (bool, str)) else f"{value:g}"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') or '-' for cell in cells)} |"


def _row(method: MergeMethod) -> MethodRow:
    parameters = [
        f"{name} {domain.text}{suffix}{'' if domain.searched else f' = {_text(default)}'}"
        for group, suffix in ((method.expert_parameters, " per expert"), (method.parameters, ""))
        for name, (domain, default) in group.items()
    ]
    base = {"required": "yes", "optional": "optional", "unused": "no"}[method.base]
    space = "low rank" if method.space == "core" else "dense"
    idea = method.summary.rstrip(".")
    return MethodRow(method.name, idea, ", ".join(parameters), method.experts, base, space, method.paper)


def modifier_rows() -> list[MethodRow]:
    """A row for each modifier that a recipe can name beside its method."""
    rows = []
    for name in MODIFIERS:
        modifier = MODIFIERS[name]
        parameters = ", ".join(f"{key} {domain.text}" for key, (domain, _) in modifier.parameters.items())
        idea = modifier.summary.rstrip(".")
        rows.append(MethodRow(name, idea, parameters, "any method", "yes", "both", modifier.paper))
    return rows
