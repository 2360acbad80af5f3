"""Rebuild everything that is derived from a run's store."""

from __future__ import annotations

from pathlib import Path

from evomerge.config import Config
from evomerge.jobs import push
from evomerge.jobs.arguments import required
from evomerge.report.delivery import write_cards
from evomerge.report.write import print_summary, write_report
from evomerge.search.tables import write_tables


def run(config: Config) -> None:
    folder = Path(required(config, "run")[0])
    push.check(config)
    write_report(folder)
    write_tables(folder)
    write_cards(folder)
    print_summary(folder)
    push.push(config, folder)
