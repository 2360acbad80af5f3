"""Format the results table as Markdown and for the terminal, and write the files of the front."""

from __future__ import annotations

import json
import re

import pandas as pd
from rich import box
from rich.table import Table

from evomerge.files.small_files import write_text
from evomerge.recipes.recipe_yaml import dump
from evomerge.report.bootstrap import Interval
from evomerge.report.paired import RETENTION
from evomerge.report.results import Results
from evomerge.report.run_data import RunData
from evomerge.report.run_frames import front_frame, trials_frame
from evomerge.types import Score


def markdown(table: Results) -> str:
    """The table in Markdown, scores and 95 % intervals in percent."""
    header, rows = _cells(table)
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" + "---:|" * (len(header) - 1)]
    for row, winner in rows:
        lines.append("| " + " | ".join(f"**{cell}**" if winner and cell else cell for cell in row) + " |")
    return "\n".join(lines) + "\n"


def rich_table(results: Results) -> Table:
    """The table for the terminal."""
    header, rows = _cells(results)
    table = Table(box=box.SIMPLE_HEAD, title="On the test items, % with 95 % interval", title_justify="left")
    for place, name in enumerate(header):
        table.add_column(name, justify="left" if place == 0 else "right", no_wrap=place == 0)
    for row, winner in rows:
        table.add_row(*row, style="bold" if winner else None)
    return table


def _cells(table: Results) -> tuple[list[str], list[tuple[list[str], bool]]]:
    header = ["", *table.tasks, RETENTION, *table.side_tasks]
    rows = []
    for row in table.rows:
        cells = [row.shown, *(_cell(row.scores.get(task)) for task in table.tasks), _cell(row.retention)]
        cells += [_cell(row.scores.get(task)) for task in table.side_tasks]
        rows.append((cells, row is table.winner))
    return header, rows


def _cell(value: Score | Interval | None) -> str:
    if value is None:
        return ""
    return f"{100 * value.mean:.1f} ({100 * value.low:.0f}-{100 * value.high:.0f})"


def recipe_file(number: int) -> str:
    """Path of a front member's recipe in the run folder.

    >>> recipe_file(7)
    'recipes/007.yaml'
    """
    return f"recipes/{number:03d}.yaml"


def write_front(run: RunData) -> None:
    """Write ``pareto.csv``, ``pareto.json`` and a recipe YAML for each front member and the winner.

    Each file is replaced in one step; recipes of candidates that have left the front are removed.
    """
    front = front_frame(trials_frame(run))
    columns = [name for name in front.columns if name not in ("on_front", "isolation", "error")]
    front = front[columns] if len(front) else pd.DataFrame()
    write_text(run.folder / "pareto.csv", front.to_csv(index=False))
    members = json.loads(front.to_json(orient="records"))  # to_json: NaN becomes null
    for member in members:
        member["recipe"] = recipe_file(member["number"])
    content = {"tasks": list(run.tasks), "split": "search", "front": members}
    write_text(run.folder / "pareto.json", json.dumps(content, indent=1) + "\n")
    recipes = {recipe_file(number): recipe for number, recipe in run.recipes.items()}
    for name, recipe in recipes.items():
        write_text(run.folder / name, dump(recipe))
    for path in sorted((run.folder / "recipes").glob("*.yaml")):
        if re.fullmatch(r"\d+\.yaml", path.name) and f"recipes/{path.name}" not in recipes:
            path.unlink()
