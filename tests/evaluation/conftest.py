"""One warm judge for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from evomerge.evaluation.judge import Judge


@pytest.fixture(scope="session")
def judge() -> Iterator[Judge]:
    with Judge() as judge:
        yield judge
