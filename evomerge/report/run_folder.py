"""Read the small files of a run folder: what was asked, environment, delivered scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from evomerge.errors import UserError
from evomerge.types import Score


def config(folder: Path) -> dict[str, Any]:
    """``config.yaml``: what was asked.

    Raises:
        UserError: the folder is missing or holds no run.
    """
    if not folder.is_dir():
        raise UserError(
            f"there is no run folder {folder}: give the folder of a search, for example outputs/sql_code_json"
        )
    cure = "give the folder that a search has written"
    path = folder / "config.yaml"
    if not path.is_file():
        raise UserError(f"{folder} holds no run (no config.yaml): {cure}")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read ({str(error).splitlines()[0]}): {cure}") from error
    if not isinstance(found, dict) or not isinstance(found.get("tasks"), dict):
        raise UserError(f"{folder} holds no run (its config.yaml names no tasks): {cure}")
    return found


def environment(folder: Path) -> dict[str, Any]:
    """``environment.json``; empty while it is not written yet."""
    path = folder / "environment.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def delivered(folder: Path) -> dict[str, dict[str, Score]]:
    """``best/scores.json``; empty before the export."""
    path = folder / "best" / "scores.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {
        kind: {task: Score(s["mean"], s["low"], s["high"], s["items"]) for task, s in content[kind].items()}
        for kind in ("model", "lora")
        if kind in content
    }
