"""A pool starts and stops its Ray; each case runs in a separate process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from run_evomerge import heed_interrupts

HERE = Path(__file__).parents[1]
SCRIPT = """
import sys, time
sys.path.insert(0, {here!r})
from evomerge.cluster.ray_pool import RayPool
from evomerge.errors import RunFailed, UserError
from evomerge.types import Expert, Recipe, Work
from toy_worker import ToySpec, build_toy
import psutil
try:
    with RayPool({spec}, build_toy, {arguments}) as pool:
        pool.submit(Work("k", Recipe("b", (Expert("a", "a"),), "{method}", ((0.5,),)), "search", ("a",)))
        print("pids", *(p.pid for p in psutil.Process().children(recursive=True)), flush=True)
        done = [d.key for d in pool.wait(60)]
        while pool.size > {most}:
            time.sleep(0.1)
        print(done, pool.size, flush=True)
except (UserError, RunFailed) as error:
    print("refused:", error)
except KeyboardInterrupt:
    print("interrupted")
"""


def start(
    spec: str = "ToySpec()", arguments: str = "workers=1", method: str = "linear", most: int = 99
) -> subprocess.Popen[str]:
    """``most``: it ends when the pool has no more workers than that."""
    code = SCRIPT.format(here=str(HERE), spec=spec, arguments=arguments, method=method, most=most)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )


def alive(pids: list[int]) -> list[str]:
    left = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                left.append(" ".join(process.cmdline())[:80])
        except psutil.NoSuchProcess:
            pass
    return left


def pids_of(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("pids "), line
    return [int(pid) for pid in line.split()[1:]]


def gone_within(pids: list[int], seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := alive(pids)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def test_start_and_end_make_no_noise_and_leave_no_process():
    process = start(arguments="")
    pids = pids_of(process)
    out, err = process.communicate(timeout=200)
    assert len(pids) > 2
    assert out == f"['k'] {len(os.sched_getaffinity(0))}\n"
    assert err == ""
    assert gone_within(pids, 10) == []


@pytest.mark.parametrize("arguments", ["workers=1"])
def test_what_build_refuses_reaches_the_user(arguments):
    process = start(spec="ToySpec(refuse=True)", arguments=arguments)
    out, err = process.communicate(timeout=200)
    assert out.splitlines()[-1] == "refused: adapter folder 'x' does not exist: check models.experts"
    assert err == ""


def test_workers_that_die_while_they_start_are_given_up(tmp_path):
    (tmp_path / "place").touch()
    process = start(spec=f"ToySpec(places=({str(tmp_path / 'place')!r},))", arguments="workers=2", most=1)
    out, err = process.communicate(timeout=200)
    assert out.splitlines()[1:] == ["['k'] 1"]
    assert "3 workers in a row died while they started" in err and err.endswith("with 1; memory may hold no more\n")


def test_no_worker_that_starts_is_one_line():
    process = start(spec="ToySpec(places=())", arguments="workers=2")
    out, _ = process.communicate(timeout=200)
    _, said = out.splitlines()
    assert said.startswith("refused: 4 workers in a row died while they started (ActorDiedError")


def test_ctrl_c_leaves_no_process():
    process = start(method="hangs")
    pids = pids_of(process)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all processes of the group
    out, err = process.communicate(timeout=200)
    assert out == "interrupted\n" and err == ""
    assert gone_within(pids, 10) == []


def test_kill_9_of_the_driver_takes_the_workers_along():
    process = start(method="hangs")
    pids = pids_of(process)
    workers = [pid for pid in pids if "agent" not in " ".join(psutil.Process(pid).cmdline()).lower()]
    time.sleep(2)
    process.kill()
    process.wait()
    # Ray's two idle agents notice only after a minute or two; everything that could hold a model ends at once
    assert gone_within(workers, 30) == []


def test_no_cluster_at_the_address():
    process = start(arguments="address='127.0.0.1:1'")
    out, _ = process.communicate(timeout=200)
    assert out.startswith("refused: no Ray cluster at '127.0.0.1:1'") and "ray start --head" in out


LESSONS = """
import sys
sys.path.insert(0, {here!r})
from evomerge.cluster.ray_pool import RayPool
from evomerge.types import Expert, Lesson, Recipe
from toy_worker import ToySpec, build_toy
with RayPool(ToySpec(), build_toy, workers=1, timeout=0.4) as pool:
    for method in ("waits", "hangs"):  # 2 s, 600 s
        pool.submit(Lesson("k", Recipe("b", (Expert("a", "a"),), method, ((0.5,),))))
        print([done.error for done in pool.wait(60)], flush=True)
"""


def test_a_lesson_may_take_longer_than_an_evaluation_but_not_for_ever():
    code = LESSONS.format(here=str(HERE))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert result.stdout == "[None]\n['stopped after 4.8 s (12 x cluster.timeout)']\n", result.stderr
