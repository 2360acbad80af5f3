"""Write TensorBoard event files into ``tensorboard/`` of the run folder: ``tensorboard --logdir outputs``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evomerge.search.tracking.base import TRACKERS, TRIAL, Sink, TrackerKind, TrackingSetup


def build(setup: TrackingSetup) -> Sink:
    return TensorBoard(setup.folder / "tensorboard")


class TensorBoard:
    """Writes scalars with torch's ``FileWriter``, and finds earlier ones in the event files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def numbers(self) -> Sequence[int]:
        if not self._folder.is_dir():
            return []
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(self._folder), size_guidance={"scalars": 0})  # 0: all, not a sample
        events.Reload()
        known = TRIAL in events.Tags()["scalars"]
        return [int(event.value) for event in events.Scalars(TRIAL)] if known else []

    def write(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary
        from torch.utils.tensorboard import FileWriter

        if self._writer is None:
            self._writer = FileWriter(str(self._folder))
        # One record for all metrics: a killed run has written a trial whole or not at all.
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in values.items()])
        self._writer.add_summary(summary, step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


TRACKERS.register("tensorboard")(TrackerKind(build, package="tensorboard"))
