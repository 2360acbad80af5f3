"""Upload the winner to the hub, where ``push_to_hub`` asks for it."""

from __future__ import annotations

from pathlib import Path

from evomerge.errors import UserError
from evomerge.hub.model_card_facts import read_parents
from evomerge.hub.settings import HubSettings
from evomerge.hub.upload import check_access, upload, upload_files
from evomerge.report.delivery import run_card
from evomerge.report.run_data import RunData


def check(repository: str | None) -> None:
    """Refuse at the start what could not be pushed at the end."""
    if repository is not None:
        check_access(repository)


def push(repository: str | None, settings: HubSettings, folder: Path) -> None:
    """Upload the winner of the run in ``folder`` to ``repository``, if there is one, and print its address.

    Raises:
        UserError: there is no winner yet, or the hub does not take it; the run is not touched.
    """
    if repository is None:
        return
    run = RunData(folder)
    source = folder / "best" / settings.kind
    if run.winner is None or not source.is_dir():
        raise UserError(
            f"{folder} has no best/{settings.kind} to push: let the search finish, run the same command to resume"
        )
    recipe = run.winner.recipe
    base, _ = read_parents(recipe.base, recipe.experts)
    files = upload_files(source, run_card(run, settings.kind, repository), base.hub_id)
    print(f"pushed to {upload(repository, files, settings.private)}")
