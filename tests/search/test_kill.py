"""``kill -9`` halfway through a search on Ray: the same command reaches the full budget and repeats no recipe."""

from __future__ import annotations

import collections
import subprocess
import sys
import time
from pathlib import Path

from evomerge.search.store import Store

SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from evomerge.cluster.ray_pool import RayPool
from evomerge.jobs.steps.terminal_view import listener
from evomerge.search.loop import run_search
from evomerge.search.store import Store
from evomerge.types import Objective
from toy_space import ToySpace
from toy_worker import ToySpec, build_toy
space = ToySpace()
with RayPool(ToySpec(seconds=0.5, log={log!r}), build_toy, workers=2) as pool:
    run_search(pool, space, Store({folder!r}), [Objective("a"), Objective("b")], 10, "random", listener=listener())
"""


def finished(folder: Path) -> int:
    return len(Store(folder).trials())


def test_kill_9_loses_no_finished_trial_and_repeats_none(tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    command = SCRIPT.format(tests=str(Path(__file__).parents[1]), log=str(log), folder=str(folder))
    process = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while finished(folder) < 4 and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.wait()
    before = Store(folder).trials()
    assert 4 <= len(before) < 10

    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"10 candidates, {len(before)} finished before" in done.stdout
    trials = Store(folder).trials()
    fingerprints = [trial.recipe.fingerprint for trial in trials]
    assert len(trials) == len(set(fingerprints)) == 10
    assert trials[: len(before)] == before
    assert {t.label for t in trials} >= {"base", "expert:a", "expert:b", "uniform"}
    # only what was under way when the process died is evaluated a second time
    count = collections.Counter(line.split()[0] for line in log.read_text().splitlines())
    assert all(count[t.recipe.fingerprint] == 1 for t in before)
    assert max(count.values()) <= 2
