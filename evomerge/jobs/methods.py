"""``job=methods``: list the merge methods, and the modifiers that can be applied to their results."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evomerge.jobs.registry import job

_WIDTH = 120  # columns, where the output goes to a file, which has no width of its own


@dataclass(frozen=True)
class Settings:
    """``write``: a Markdown file to write the list to, instead of the terminal."""

    write: str | None = None


@job(
    "methods",
    Settings,
    """\
python -m evomerge job=methods                                         list the merge methods
    [write=FILE.md]: writes the page docs/methods.md instead""",
)
def run(settings: Settings) -> None:
    """Print the table, or write the page of documentation to a file."""
    # late: all methods, and torch with them
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from evomerge.files.small_files import write_text
    from evomerge.merging.describe import method_rows, methods_page, modifier_rows

    if settings.write is not None:
        write_text(Path(settings.write), methods_page())
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("method", no_wrap=True)
    for name, ratio in (("idea", 3), ("parameters", 3), ("experts", None), ("base", None), ("works on", None)):
        table.add_column(name, ratio=ratio)
    table.add_column("paper", ratio=2, overflow="fold")
    for rows in (method_rows(), modifier_rows()):
        for row in rows:
            table.add_row(row.name, row.idea, row.parameters, row.experts, row.base, row.space, row.paper)
        table.add_section()
    console = Console()
    Console(width=console.width if console.is_terminal else _WIDTH).print(table)
