"""Pareto mathematics: closed forms and laws."""

from __future__ import annotations

import numpy as np
import pytest

from evomerge.search import pareto


def test_nondominated_by_definition():
    losses = np.random.default_rng(0).integers(0, 6, size=(60, 3)).astype(float)
    mask = pareto.nondominated(losses)
    for i, row in enumerate(losses):
        dominated = any(np.all(other <= row) and np.any(other < row) for other in losses)
        assert mask[i] == (not dominated)


@pytest.mark.parametrize("count", [1, 2, 5, 50])
def test_hypervolume_of_points_on_a_line(count):
    # (i/n, 1 - i/n), i = 0..n: a staircase under the diagonal of the unit square
    points = [(i / count, 1 - i / count) for i in range(count + 1)]
    assert pareto.hypervolume(points, [1, 1]) == pytest.approx((count - 1) / (2 * count))


def test_hypervolume_of_boxes():
    assert pareto.hypervolume([[0.2, 0.5, 0.1]], [1, 1, 1]) == pytest.approx(0.8 * 0.5 * 0.9)
    assert pareto.hypervolume([[0.5, 0, 0], [0, 0.5, 0]], [1, 1, 1]) == pytest.approx(0.75)
    assert pareto.hypervolume([[0.3], [0.7]], [1]) == pytest.approx(0.7)
    assert pareto.hypervolume([], [1, 1]) == 0
    assert pareto.hypervolume([[1.0, 0.0], [2.0, -5.0]], [1, 1]) == 0


def test_hypervolume_ignores_dominated_points_and_order():
    rng = np.random.default_rng(1)
    points = rng.random((40, 3))
    whole = pareto.hypervolume(points, [1, 1, 1])
    assert pareto.hypervolume(points[pareto.nondominated(points)], [1, 1, 1]) == pytest.approx(whole)
    assert pareto.hypervolume(points[::-1], [1, 1, 1]) == pytest.approx(whole)
    samples = rng.random((20000, 3))
    inside = (points[None] <= samples[:, None]).all(-1).any(1).mean()
    assert whole == pytest.approx(inside, abs=0.02)


def test_retentions():
    assert pareto.retentions([[0.3, 0.4]], [0.6, 0.8]).tolist() == [[0.5, 0.5]]
    assert pareto.retentions([[0.3, 0.4]], [0.0, np.nan]).tolist() == [[0.3, 0.4]]
    assert pareto.smallest_retention([[0.3, 0.8], [0.6, 0.2]], [0.6, 0.8]).tolist() == [0.5, 0.25]


def test_tchebycheff_prefers_the_better_worst_task_then_the_better_sum():
    losses = pareto.tchebycheff([[0.5, 0.9], [0.6, 0.6], [0.6, 0.9]])
    assert losses.argsort().tolist() == [2, 1, 0]
