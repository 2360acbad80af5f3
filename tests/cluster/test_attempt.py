"""A failed evaluation becomes a record and a line of the log."""

from __future__ import annotations

import pytest

from evomerge.cluster.base import attempt
from evomerge.errors import UserError
from evomerge.types import Artifact, Done, Work


class Failing:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def evaluate(self, work: Work) -> Done:
        raise self._error

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("kind", "traced"), [(UserError, False), (ZeroDivisionError, True)])
def test_only_our_own_mistakes_are_logged_with_a_traceback(
    kind: type[Exception], traced: bool, caplog: pytest.LogCaptureFixture
) -> None:
    done = attempt(Failing(kind("no memory: set backend.batch_size lower")), Work("7", Artifact("m"), "test", ("sql",)))
    assert done.error is not None
    assert done.error.endswith("no memory: set backend.batch_size lower")
    [record] = caplog.records
    assert ("evaluation 7 failed" in record.getMessage()) and (record.exc_info is not None) == traced
    assert traced or "set backend.batch_size lower" in record.getMessage()
