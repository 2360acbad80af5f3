"""Rebuild everything that is derived from a run's store, or set several runs side by side."""

from __future__ import annotations

from pathlib import Path

from evomerge.config import Config
from evomerge.errors import UserError
from evomerge.jobs.steps import push_winner
from evomerge.jobs.steps.arguments import required
from evomerge.report.compare import write_comparison
from evomerge.report.delivery import write_cards
from evomerge.report.write import print_summary, write_report
from evomerge.search.tables import write_tables


def run(config: Config) -> None:
    """One run: its report. A list of runs: ``comparison.html``, in the working directory or where ``out`` says."""
    (asked,) = required(config, "run")
    if isinstance(asked, list):
        if config.push_to_hub is not None:
            raise UserError(f"push_to_hub takes one run, got {len(asked)} (run={asked})")
        page = write_comparison([str(folder) for folder in asked], config.out or ".")
        print(f"comparison of {len(asked)} runs written to {page}")
        return
    folder = Path(asked)
    if "," in str(asked) and not folder.is_dir():
        raise UserError(f"there is no run folder {asked}: several runs are a list, run=[{asked}]")
    push_winner.check(config)
    write_report(folder)
    write_tables(folder)
    write_cards(folder)
    print_summary(folder)
    push_winner.push(config, folder)
