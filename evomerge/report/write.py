"""Write all derived files of a run folder, and print the summary at the end of a search."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.text import Text

from evomerge.files.small_files import write_text
from evomerge.report.commands import again, shown
from evomerge.report.delivery import adapter_facts
from evomerge.report.html import render
from evomerge.report.page_json import payload
from evomerge.report.results import results
from evomerge.report.run_data import RunData
from evomerge.report.tables import rich_table, write_front
from evomerge.report.verdict import verdict


def write_report(run_dir: Path | str) -> Path:
    """Write ``pareto.csv``, ``pareto.json``, ``recipes/``, ``figures/`` and ``report.html``, each file in one step.

    Args:
        run_dir: a run folder, finished or not. Its ``prompts.json`` (task -> test item -> prompt), where there is one,
            gives the questions beside the sample answers.

    Returns:
        The path of ``report.html``.

    Raises:
        UserError: there is no run in ``run_dir``.
    """
    # Imported late: it takes a second, and the summary alone does not need it.
    from evomerge.report.figures import write_figures

    run = RunData(run_dir)
    write_front(run)
    write_figures(run)
    page = run.folder / "report.html"
    write_text(page, render(payload(run, _questions(run.folder / "prompts.json"))))
    return page


def _questions(file: Path) -> dict[tuple[str, str], str]:
    if not file.is_file():
        return {}
    prompts = json.loads(file.read_text())
    return {(task, item): prompt for task, own in prompts.items() for item, prompt in own.items()}


def print_summary(run_dir: Path | str, console: Console | None = None) -> None:
    """Print the result, where it lies and what to type next."""
    run = RunData(run_dir)
    console = console or Console(highlight=False)
    table = results(run)
    said = verdict(run, table)
    console.print()
    if table.rows:
        console.print(rich_table(table))
    console.print(Text(said.headline, style="bold"))
    console.print(Text(said.detail))
    folder = shown(run.folder)
    rows = [("report", f"{folder}/report.html"), ("front", f"{folder}/pareto.csv, {folder}/recipes/")]
    if run.winner is not None:
        about = adapter_facts(run.folder)
        rows[:0] = [("model", f"{folder}/best/model"), ("LoRA", f"{folder}/best/lora{f' ({about})' if about else ''}")]
        rows.append(("again", again(run)))
    console.print()
    for name, value in rows:
        console.print(Text.assemble((f"{name:<8}", "dim"), value), soft_wrap=True)
