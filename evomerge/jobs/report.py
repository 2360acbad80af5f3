"""``job=report``: rebuild all that is derived from a run's store, or set several runs side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evomerge.errors import UserError
from evomerge.hub.settings import HubSettings
from evomerge.jobs.registry import job, needed


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        run: folder of a run, or a list of such folders to compare.
        out: folder of the comparison; None: the working directory.
        push_to_hub: ``ORG/NAME`` of the repository that gets the winner.

    Raises:
        UserError: no run, or several to push.
    """

    run: Any = None
    out: str | None = None
    push_to_hub: str | None = None
    hub: HubSettings = field(default_factory=HubSettings)

    def __post_init__(self) -> None:
        needed(self.run, "job=report needs run=DIR, for example run=outputs/default")
        if isinstance(self.run, list) and self.push_to_hub is not None:
            raise UserError(f"push_to_hub takes one run, got {len(self.run)} (run={self.run})")


@job(
    "report",
    Settings,
    """\
python -m evomerge job=report run=DIR                                  rebuild the report of a run
python -m evomerge job=report run=[DIR,DIR] [out=DIR]                  set runs side by side: comparison.html""",
)
def run(settings: Settings) -> None:
    """One run: its report. A list of runs: ``comparison.html``, in the working directory or where ``out`` says."""
    # late: pandas and matplotlib
    from evomerge.jobs.steps import push_winner
    from evomerge.report.compare import write_comparison
    from evomerge.report.delivery import write_cards
    from evomerge.report.write import print_summary, write_report
    from evomerge.search.tables import write_tables

    asked = settings.run
    if isinstance(asked, list):
        page = write_comparison([str(folder) for folder in asked], settings.out or ".")
        print(f"comparison of {len(asked)} runs written to {page}")
        return
    folder = Path(asked)
    if "," in str(asked) and not folder.is_dir():
        raise UserError(f"there is no run folder {asked}: several runs are a list, run=[{asked}]")
    push_winner.check(settings.push_to_hub)
    write_report(folder)
    write_tables(folder)
    write_cards(folder)
    print_summary(folder)
    push_winner.push(settings.push_to_hub, settings.hub, folder)
