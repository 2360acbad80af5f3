"""The noise of a score, from the items on which candidates of equal quality disagree."""

from __future__ import annotations

import numpy as np
import pytest

from evomerge.search.noise import Outcomes, own_share, score_noise
from evomerge.types import Expert, ItemScore, Recipe, Trial


def outcomes(trials: int, items: int, likeness: float, seed: int = 0) -> np.ndarray:
    """Candidates of equal quality that solve half of the items; their latents correlate by ``likeness``."""
    rng = np.random.default_rng(seed)
    shared, own = rng.standard_normal(items), rng.standard_normal((trials, items))
    return (np.sqrt(likeness) * shared + np.sqrt(1 - likeness) * own > 0).astype(float)


def test_the_noise_is_that_of_repeated_draws_on_the_same_items():
    """Simulated directly: the variance of a score over candidates that differ by chance alone."""
    for likeness in (0.0, 0.8, 0.95):
        found = outcomes(400, 100, likeness)
        measured = found.mean(axis=1).var()
        assert score_noise(found[:60]).mean() == pytest.approx(measured, rel=0.25)


def test_the_share_falls_with_agreement():
    shares = [own_share(outcomes(40, 200, likeness)) for likeness in (0.0, 0.5, 0.9, 0.99)]
    assert shares == sorted(shares, reverse=True) and shares[0] > 0.9 and shares[-1] < 0.15


def test_a_part_of_the_items_is_noisier_than_all():
    found = outcomes(20, 100, 0.9)
    part = found.copy()
    part[3, 25:] = np.nan
    noise = score_noise(part)
    assert noise[3] > 4 * np.delete(noise, 3).max()


def trial(number: int, right: list[str], wrong: list[str], error: str | None = None) -> Trial:
    items = [ItemScore("a", name, 1.0) for name in right] + [ItemScore("a", name, 0.0) for name in wrong]
    recipe = Recipe("base", (Expert("a", "a"),), "linear", ((float(number),),))
    return Trial(number, recipe, {}, None, tuple(items), 1.0, "", error)


def test_items_are_matched_by_name_and_failures_left_out():
    known = Outcomes(["a"])
    known.add([trial(0, ["x"], ["y", "z"]), trial(4, ["z", "y"], []), trial(2, [], [], "failed")])
    known.add([trial(0, ["x"], ["y", "z"]), trial(3, ["y"], ["x", "z"])])
    expected = [[1, 0, 0], [0, 1, 0], [np.nan, 1, 1]]
    np.testing.assert_array_equal(known.matrix("a", [0, 3, 4]), expected)
    assert set(known.noise()) == {0, 3, 4}
