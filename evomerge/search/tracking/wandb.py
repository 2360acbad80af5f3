"""Log to Weights & Biases, files in ``wandb/`` of the run folder. ``WANDB_MODE=offline`` needs no account."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from evomerge.errors import UserError
from evomerge.files.small_files import write_text
from evomerge.search.tracking.base import TRACKERS, TRIAL, Sink, TrackerKind, TrackingSetup


def build(setup: TrackingSetup) -> Sink:
    """
    Raises:
        UserError: there is no login for its online mode.
    """
    import wandb

    mode = wandb.setup().settings.mode
    if mode not in ("offline", "disabled") and not wandb.login(prompt=False):
        raise UserError("tracking=wandb needs a login, got none: wandb login, or WANDB_MODE=offline")
    return WandB(setup)


class WandB:
    """One W&B run for the run folder: ``trials.json`` keeps the run's id and the numbers of its trials."""

    def __init__(self, setup: TrackingSetup) -> None:
        self._setup = setup
        self._file = setup.folder / "wandb" / "trials.json"
        kept = json.loads(self._file.read_text()) if self._file.is_file() else {}
        self._id: str = kept.get("id") or secrets.token_hex(4)
        self._numbers: list[int] = kept.get("numbers", [])
        self._run: Any = None

    def numbers(self) -> Sequence[int]:
        return tuple(self._numbers)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self._run is None:
            self._run = self._open()
        self._run.log(dict(values), step=step)
        self._numbers.append(int(values[TRIAL]))
        # Written after the metrics: a killed run may send a trial twice, but as the same step, which W&B keeps once.
        write_text(self._file, json.dumps({"id": self._id, "numbers": self._numbers}))

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None

    def _open(self) -> Any:
        import wandb

        self._setup.folder.mkdir(parents=True, exist_ok=True)
        # console off: W&B would capture the live view
        settings = wandb.Settings(silent=True, console="off")
        try:
            return wandb.init(
                project=self._setup.project,
                name=self._setup.name,
                id=self._id,
                dir=str(self._setup.folder),
                resume="allow",
                settings=settings,
            )
        except wandb.errors.Error as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(f"tracking=wandb: W&B cannot start ({reason}): check it, or WANDB_MODE=offline") from error


TRACKERS.register("wandb")(TrackerKind(build, package="wandb"))
