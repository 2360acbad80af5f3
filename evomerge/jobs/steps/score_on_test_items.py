"""Score best/model, best/lora, the anchors and the random control on the test items, for the final table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from evomerge.files.small_files import write_text
from evomerge.jobs.steps.random_control import FOLDER, write_random_control
from evomerge.jobs.steps.scored_once import Measurement, Request, recipe_request
from evomerge.search.evaluations import control_key
from evomerge.types import Artifact, Recipe


def lora_key(winner: Recipe, rank: int | None) -> str:
    """Key of best/lora in the store."""
    return f"{winner.fingerprint}+lora{'' if rank is None else rank}"


def score_on_test_items(
    measurement: Measurement,
    winner: Recipe,
    artifacts: tuple[Artifact, Artifact],
    rank: int | None,
    reported: Mapping[str, str | None],
    folder: Path,
) -> None:
    """Score, and write the scores of best/model and best/lora to ``best/scores.json``. The files themselves are scored,
    so the winner's row of the table is best/model's. The control is an adapter with random directions of best/lora's
    size, in the run's folder ``control``.

    Args:
        artifacts: best/model and best/lora.
        rank: that was asked for best/lora.
        reported: tasks that are not searched for -> their experts; base, expert and winner are scored on them.
        folder: of the run.
    """
    tasks = measurement.tasks
    model = Request("best/model", artifacts[0], (*tasks, *reported), winner.fingerprint)
    lora = Request("best/lora", artifacts[1], tasks, lora_key(winner, rank))
    others = []
    for label, recipe in measurement.anchors.items():
        extra = tuple(task for task, expert in reported.items() if label in ("base", f"expert:{expert}"))
        others.append(recipe_request(label, recipe, (*tasks, *extra)))
    control = write_random_control(artifacts[1], folder / FOLDER)
    others.append(Request("random LoRA", control, tasks, control_key(winner)))
    measurement.score([model, lora], "test", others)
    measured = {
        name: {task: asdict(score) for task, score in measurement.scores(request, "test").items()}
        for name, request in (("model", model), ("lora", lora))
    }
    write_text(folder / "best" / "scores.json", json.dumps({"split": "test", **measured}, indent=2))
