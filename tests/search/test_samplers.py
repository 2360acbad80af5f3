"""Conformance of every registered sampler; the checks find planted faults."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from sampler_kit import (
    check_kills_change_nothing,
    check_seed_decides,
    check_space_filling,
    registered,
    search,
)

from evomerge.search.samplers import SAMPLERS, SamplerKind, SamplerSetup


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_the_seed_decides(tmp_path: Path, sampler: str) -> None:
    check_seed_decides(sampler, tmp_path)


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_kills_change_nothing(tmp_path: Path, sampler: str) -> None:
    check_kills_change_nothing(sampler, tmp_path)


@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if SAMPLERS[name].space_filling])
def test_space_filling_ones_cover_the_space(sampler: str) -> None:
    check_space_filling(SAMPLERS[sampler])


@pytest.mark.parametrize("sampler", list(SAMPLERS))
def test_options_are_settings_with_defaults(sampler: str) -> None:
    options = SAMPLERS[sampler].options
    assert options.__dataclass_params__.frozen and options.__doc__
    assert replace(options()) == options(*(getattr(options(), field.name) for field in fields(options)))


def test_options_reach_the_sampler(tmp_path: Path) -> None:
    def build(setup: SamplerSetup, options: Any) -> optuna.samplers.BaseSampler:
        assert options.population == 16
        return SAMPLERS["nsga2"].build(setup, options)

    with registered(SamplerKind(build, SAMPLERS["nsga2"].options)) as name:
        assert search(tmp_path, name) == search(tmp_path / "own", "nsga2")


def test_a_sampler_that_ignores_its_seed_is_found(tmp_path: Path) -> None:
    kind = SamplerKind(lambda setup, options: optuna.samplers.RandomSampler(seed=setup.turn))
    with registered(kind) as name, pytest.raises(AssertionError, match="two seeds give one sequence"):
        check_seed_decides(name, tmp_path)


def test_a_sampler_with_a_will_of_its_own_is_found(tmp_path: Path) -> None:
    kind = SamplerKind(lambda setup, options: optuna.samplers.RandomSampler(seed=time.monotonic_ns() % 2**32))
    with registered(kind) as name, pytest.raises(AssertionError, match="one seed gives two sequences"):
        check_seed_decides(name, tmp_path)


def test_a_sampler_that_counts_its_proposals_is_found(tmp_path: Path) -> None:
    """State outside the told trials: a proposal that was begun twice counts twice."""
    begun = iter(range(10**6))
    kind = SamplerKind(lambda setup, options: optuna.samplers.RandomSampler(seed=setup.run_seed + next(begun)))
    with registered(kind) as name, pytest.raises(AssertionError, match="another sequence after"):
        check_kills_change_nothing(name, tmp_path)


def test_a_rebuilt_sequence_is_no_sequence() -> None:
    """Optuna's own QMC sampler, seeded anew for each proposal, gives the first point of another sequence each time."""

    def build(setup: SamplerSetup, options: Any) -> optuna.samplers.BaseSampler:
        return optuna.samplers.QMCSampler(seed=setup.seed, scramble=True)

    with pytest.raises(AssertionError, match="discrepancy"):
        check_space_filling(SamplerKind(build))
