"""Metrics of a search in external trackers, read back from their files."""

from __future__ import annotations

import json
import math
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toy_space import ToySpace, objectives
from toy_worker import Counting

from evomerge.cluster.serial import SerialPool
from evomerge.errors import UserError
from evomerge.search.base import Silence
from evomerge.search.loop import run_search
from evomerge.search.progress import progress
from evomerge.search.store import Store
from evomerge.search.tracking.base import TRACKERS, TRIAL, Sink, TrackerKind, TrackingSetup
from evomerge.search.tracking.listener import with_tracking
from evomerge.search.tracking.settings import TrackingSettings

SPACE = ToySpace(methods=("linear", "raises"))


def search(folder: Path, kind: str, budget: int) -> list:
    listener = with_tracking(Silence(), TrackingSettings(kind), folder, "toy")
    store = Store(folder)
    try:
        return run_search(SerialPool(Counting()), SPACE, store, objectives(SPACE), budget, "random", listener=listener)
    finally:
        store.close()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """All event files of a folder, as TensorBoard reads them: (step, value) by name."""
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def agree(found: list[tuple[int, float]], wanted: list[float]) -> bool:
    same = all(math.isclose(value, other, rel_tol=1e-6) for (_, value), other in zip(found, wanted, strict=True))
    return same and [step for step, _ in found] == list(range(1, len(wanted) + 1))


def test_tensorboard_holds_every_trial(tmp_path: Path) -> None:
    trials = search(tmp_path, "tensorboard", 12)
    found = scalars(tmp_path)
    assert agree(found["search/trial"], [trial.number for trial in trials])
    volumes = [progress(trials[: n + 1], objectives(SPACE)).hypervolume for n in range(len(trials))]
    assert agree(found["search/hypervolume"], volumes)
    own = {n + 1: trial.scores["a"].mean for n, trial in enumerate(trials) if trial.error is None}
    assert dict(found["score/a"]) == pytest.approx(own)
    failed = sum(trial.error is not None for trial in trials)
    assert 0 < failed == found["search/failed"][-1][1]
    assert {"best/a", "best/b", "best/min-retention", "score/min-retention"} <= found.keys()


def test_a_resumed_search_goes_on_without_duplicates(tmp_path: Path) -> None:
    search(tmp_path, "tensorboard", 7)
    search(tmp_path, "none", 9)  # two trials that no tracker was told of
    trials = search(tmp_path, "tensorboard", 12)
    search(tmp_path, "tensorboard", 12)
    assert agree(scalars(tmp_path)["search/trial"], [trial.number for trial in trials])


def test_a_torn_record_is_written_again(tmp_path: Path) -> None:
    """What ``kill -9`` leaves: the last record is cut off."""
    search(tmp_path, "tensorboard", 7)
    (file,) = (tmp_path / "tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-5])
    assert len(scalars(tmp_path)["search/trial"]) == 6
    trials = search(tmp_path, "tensorboard", 9)
    assert agree(scalars(tmp_path)["search/trial"], [trial.number for trial in trials])
    assert agree(scalars(tmp_path)["search/seconds"], [trial.seconds for trial in trials])


def leveldb_log(data: bytes) -> Iterator[bytes]:
    """Whole records of a LevelDB log that begins with seven bytes of W&B's own."""
    place, record = 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:  # no header fits: the rest of the block is padding
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        record += data[place + 7 : place + 7 + length]
        place += 7 + length
        if place <= len(data) and kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


def wandb_records(folder: Path) -> list:
    """What W&B has written offline, in the order of its runs."""
    from wandb.proto.wandb_internal_pb2 import Record

    files = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
    return [Record.FromString(data) for file in files for data in leveldb_log(file.read_bytes())]


def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    search(tmp_path, "wandb", 7)
    time.sleep(1.1)  # W&B names its folders by the second
    trials = search(tmp_path, "wandb", 9)
    deadline = time.monotonic() + 60  # W&B writes in a process of its own, which outlives the run a little
    while len(ends := [r for r in wandb_records(tmp_path) if r.WhichOneof("record_type") == "exit"]) < 2:
        assert time.monotonic() < deadline, f"{len(ends)} of 2 runs are on disk"
        time.sleep(0.2)
    records = wandb_records(tmp_path)
    histories = [record.history.item for record in records if record.WhichOneof("record_type") == "history"]
    rows = [{".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items} for items in histories]
    ids = {record.run.run_id for record in records if record.WhichOneof("record_type") == "run"}
    assert [row["search/trial"] for row in rows] == [trial.number for trial in trials]
    assert [row["_step"] for row in rows] == list(range(1, 10))
    assert rows[0]["score/a"] == pytest.approx(trials[0].scores["a"].mean)
    assert len(ids) == 1


def test_an_unknown_tracker_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown tracking.kind 'tensorbord': did you mean 'tensorboard'"):
        search(tmp_path, "tensorbord", 3)
    assert not (tmp_path / "study.journal").exists()


@pytest.mark.parametrize("kind", [name for name in TRACKERS if TRACKERS[name].package])
def test_a_missing_package_is_named_with_its_cure(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    package = TRACKERS[kind].package
    cure = rf"pip install evomerge\[{package}\]"
    with pytest.raises(UserError, match=f"tracking={kind} needs the package {package}: {cure}"):
        search(tmp_path, kind, 3)


def check_each_trial_once(kind: str, folder: Path) -> None:
    """Over resumed runs a tracker gets each trial once, at its own step; and it knows afterwards which it has."""
    written: list[tuple[int, int]] = []
    original = TRACKERS[kind]

    def build(setup: TrackingSetup) -> Sink:
        sink = original.build(setup)
        write = sink.write

        def noted(step: int, values: Mapping[str, float]) -> None:
            write(step, values)
            written.append((step, int(values[TRIAL])))

        sink.write = noted
        return sink

    TRACKERS._items[kind] = replace(original, build=build)
    try:
        search(folder, kind, 7)
        search(folder, "none", 9)  # two trials that no tracker was told of
        trials = search(folder, kind, 12)
        search(folder, kind, 12)
    finally:
        TRACKERS._items[kind] = original
    assert written == [(n + 1, trial.number) for n, trial in enumerate(trials)], f"{kind}: {written}"
    sink = original.build(TrackingSetup(folder, "toy"))
    assert list(sink.numbers()) == [trial.number for trial in trials]


@pytest.mark.parametrize("kind", list(TRACKERS))
def test_each_trial_once(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_each_trial_once(kind, tmp_path)


class Forgetful:
    """A tracker that keeps its metrics and forgets which trials it has."""

    def numbers(self) -> list[int]:
        return []

    def write(self, step: int, values: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_tracker_that_repeats_trials_is_found(tmp_path: Path) -> None:
    TRACKERS.register("forgetful")(TrackerKind(lambda setup: Forgetful()))
    try:
        with pytest.raises(AssertionError, match="forgetful"):
            check_each_trial_once("forgetful", tmp_path)
    finally:
        del TRACKERS._items["forgetful"]
