"""List the merge methods."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from evomerge.config import Config
from evomerge.merging.describe import method_rows


def run(config: Config) -> None:
    rows = method_rows()
    table = Table()
    for column in ("method", "idea", "parameters", "experts", "space", "paper"):
        table.add_column(column)
    for row in rows:
        table.add_row(row.name, row.idea, row.parameters, row.experts, row.space, row.paper)
    Console().print(table)
