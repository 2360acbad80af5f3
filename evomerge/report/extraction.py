"""Show an extraction on the terminal: a row for each layer, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from evomerge.engine.extract.result import Extraction, Part, relative_error
from evomerge.weights.parameter_names import layer_index

_SHOWN = 4  # number of parameters that are named


def extraction_table(done: Extraction) -> Table:
    """Ranks, parameters, energy kept and error of each layer; ``extraction.json`` has them for every matrix."""
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("layer", "matrices", "rank", "parameters", "energy kept", "relative error"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    groups: dict[int | None, list[Part]] = {}
    for part in done.parts:
        groups.setdefault(layer_index(part.name), []).append(part)
    for index in sorted(groups, key=lambda i: (i is None, i)):
        table.add_row("outside" if index is None else str(index), *_cells(groups[index]))
    table.add_row("all", *_cells(done.parts), style="bold")
    return table


def left_out_lines(done: Extraction) -> list[str]:
    """Parameters that are not in the adapter, and the settings that would keep them."""
    lines = []
    energy = sum(part.energy for part in done.parts)
    left = sorted((p for p in done.parts if p.how == "left out"), key=lambda part: -part.energy)
    if left:
        share = 100 * sum(part.energy for part in left) / energy
        names = ", ".join(part.name for part in left[:_SHOWN]) + (" ..." if len(left) > _SHOWN else "")
        lines.append(
            f"left out by policy: {len(left)} changed parameters with {share:.1f} % of the energy ({names}); "
            "extract.embeddings, extract.norms and extract.biases (skip, full, lora) say what to keep"
        )
    if done.added:
        lines.append(
            f"left out by policy: {done.added} rows of tokens that the base lacks; extract.added_tokens=full keeps them"
        )
    return lines


def _cells(parts: Sequence[Part]) -> list[str]:
    lora = [part.rank for part in parts if part.how == "lora" and part.rank]
    ranks = f"{min(lora)}" if lora and min(lora) == max(lora) else f"{min(lora)}-{max(lora)}" if lora else "-"
    error = relative_error(parts)
    stored = sum(part.parameters for part in parts)
    return [str(len(lora)), ranks, f"{stored:,}", f"{100 * (1 - error**2):.1f} %", f"{error:.4f}"]
