"""The winner as a repository of the hub: only where ``push_to_hub`` asks for it."""

from __future__ import annotations

from pathlib import Path

from evomerge.config import Config
from evomerge.errors import UserError
from evomerge.hub.model_card_facts import read_parents
from evomerge.hub.upload import check_access, upload, upload_files
from evomerge.report.delivery import run_card
from evomerge.report.run_data import RunData


def check(config: Config) -> None:
    """Refuse at the start what could not be pushed at the end."""
    if config.push_to_hub is not None:
        check_access(config.push_to_hub)


def push(config: Config, folder: Path) -> None:
    """Upload the winner of the run in ``folder`` and say where it is.

    Raises:
        UserError: there is no winner yet, or the hub does not take it; the run is not touched.
    """
    if config.push_to_hub is None:
        return
    run, kind = RunData(folder), config.hub.kind
    source = folder / "best" / kind
    if run.winner is None or not source.is_dir():
        raise UserError(f"{folder} has no best/{kind} to push: let the search finish, the same command goes on")
    recipe = run.winner.recipe
    base, _ = read_parents(recipe.base, recipe.experts)
    files = upload_files(source, run_card(run, kind, config.push_to_hub), base.hub_id)
    print(f"pushed to {upload(config.push_to_hub, files, config.hub.private)}")
