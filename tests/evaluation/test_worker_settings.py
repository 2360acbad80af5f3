"""Limits of the sandbox: set in the configuration, checked, and in force."""

from __future__ import annotations

import json

import pytest

from evomerge.analysis.rescore import worker_spec_of
from evomerge.errors import UserError
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.judging.sandbox import SandboxSettings
from evomerge.evaluation.worker_settings import worker_spec
from evomerge.inference.backend_settings import BackendSettings

TASKS = {"sql": {"task": "sql"}}


def test_limits_reach_the_worker():
    limits = SandboxSettings(sql_seconds=7.5, parallel=4)
    spec = worker_spec("base", (), TASKS, BackendSettings(), limits, seconds=60.0)
    assert spec.sandbox == limits
    assert spec.seconds == 60.0


def test_settings_of_a_run_are_read_from_its_file():
    """As old runs wrote them, with the sections of other versions beside them."""
    config = {"tasks": TASKS, "sandbox": {"sql_seconds": 7.5, "parallel": 4}, "cluster": {"timeout": 60.0}, "svd": None}
    assert worker_spec_of(config, "base", ()).sandbox == SandboxSettings(sql_seconds=7.5, parallel=4)
    assert worker_spec_of({"tasks": TASKS}, "base", ()).sandbox == SandboxSettings()
    with pytest.raises(UserError, match=r"unknown setting 'sandbox\.sql_second': did you mean 'sql_seconds'"):
        worker_spec_of({"tasks": TASKS, "sandbox": {"sql_second": 7.5}}, "base", ())


@pytest.mark.parametrize(("key", "value"), [("sql_seconds", 0), ("code_seconds", 0), ("memory", 1000), ("parallel", 0)])
def test_a_limit_that_nothing_could_keep_is_the_users_error(key, value):
    with pytest.raises(UserError, match=rf"sandbox\.{key} must be at least .* got {value}"):
        SandboxSettings(**{key: value})


def test_only_what_decides_verdicts_is_part_of_a_runs_identity():
    assert SandboxSettings(parallel=9, allow_weak=True).limits == SandboxSettings().limits
    assert SandboxSettings(sql_seconds=9.0).limits != SandboxSettings().limits


def test_sql_seconds_is_what_a_query_gets():
    item = json.dumps(
        {"sql": ["SELECT 4000000"], "compare": "bag", "databases": [{"script": "CREATE TABLE t (x INTEGER)"}]}
    )
    slow = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 4000000) SELECT max(x) FROM c"
    right = {}
    for seconds in (0.1, 60.0):
        with Judge(SandboxSettings(sql_seconds=seconds)) as judge:
            right[seconds] = judge.judge("sql", [(item, slow)])[0]["sql_exec"]
    assert right == {0.1: 0.0, 60.0: 1.0}
