"""Conformance checks for samplers; each raises AssertionError if the sampler fails it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.storages.journal import JournalFileBackend
from scipy.stats import qmc
from toy_space import ToySpace, objectives
from toy_worker import ToySpec, ToyWorker

from evomerge.cluster.serial import SerialPool
from evomerge.search.loop import run_search
from evomerge.search.samplers import SAMPLERS, SamplerKind, SamplerSetup
from evomerge.search.store import Store, quiet

SPACE = ToySpace()
BUDGET = 10


class Killed(BaseException):
    """Ends a search as ``kill -9`` does, as far as the run folder can tell: nothing is written after it."""


@contextmanager
def registered(kind: SamplerKind) -> Iterator[str]:
    """Name under which the registry has ``kind`` for a while."""
    SAMPLERS.register("planted")(kind)
    try:
        yield "planted"
    finally:
        del SAMPLERS._items["planted"]


@contextmanager
def killed_at_write(number: int) -> Iterator[None]:
    """The process dies before the journal gets its write ``number``, counted from 1."""
    original, count = JournalFileBackend.append_logs, itertools.count(1)

    def append(self: JournalFileBackend, logs: list[dict[str, Any]]) -> None:
        if next(count) >= number:
            raise Killed
        original(self, logs)

    JournalFileBackend.append_logs = append
    try:
        yield
    finally:
        JournalFileBackend.append_logs = original


def search(folder: Path, sampler: str, seed: int = 0) -> list[tuple[dict[str, Any], str | None]]:
    """Parameters and labels of the trials, in order."""
    store = Store(folder)
    try:
        worker = ToyWorker(ToySpec(items=200))
        trials = run_search(SerialPool(worker), SPACE, store, objectives(SPACE), BUDGET, sampler, seed, ahead=0)
    finally:
        store.close()
    return [(dict(trial.params), trial.label) for trial in trials]


def check_seed_decides(sampler: str, folder: Path) -> None:
    """The proposals are a function of the seed and of the told trials, and of nothing else."""
    first, again, other = (search(folder / name, sampler, seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert first == again, f"{sampler}: one seed gives two sequences"
    assert first != other, f"{sampler}: two seeds give one sequence"


def check_kills_change_nothing(sampler: str, folder: Path) -> None:
    """However often the process dies, in the middle of a proposal or of an outcome, the sequence is that of one run."""
    whole = search(folder / "whole", sampler)
    kills = 0
    for writes in (2, 5, 9, 7, 10, 8, 12, 11, 14, 13, 17, 15, 16, 19):
        try:
            with killed_at_write(writes):
                search(folder / "killed", sampler)
        except Killed:
            kills += 1
    assert search(folder / "killed", sampler) == whole, f"{sampler}: another sequence after {kills} kills"
    assert kills >= 8, "the search was over before it was killed often"


def points(kind: SamplerKind, seed: int, count: int = 64, dimensions: int = 4) -> np.ndarray:
    """The first proposals of a search without anchors, (count, dimensions) in [0, 1]; each told before the next."""
    searched: dict[str, BaseDistribution] = {f"x{n}": FloatDistribution(0.0, 1.0) for n in range(dimensions)}
    study = optuna.create_study()
    found = []
    for turn in range(count):
        with quiet():
            setup = SamplerSetup(seed, seed * 1000 + turn, turn, 0, 2, searched)
            study.sampler = kind.build(setup, kind.options())
            trial = study.ask(fixed_distributions=searched)
        found.append([trial.params[name] for name in searched])
        study.tell(trial, sum(found[-1]))
    return np.array(found)


def check_space_filling(kind: SamplerKind) -> None:
    """64 proposals have at most half the discrepancy of random ones, in the median over seeds."""
    own, random = (
        np.median([qmc.discrepancy(points(each, seed)) for seed in range(5)]) for each in (kind, SAMPLERS["random"])
    )
    assert own <= 0.5 * random, f"discrepancy {own:.5f}, random draws have {random:.5f}"
