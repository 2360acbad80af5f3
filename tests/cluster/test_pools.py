"""Pools: equal answers in process and on Ray, and the Ray pool with workers that die or hang."""

from __future__ import annotations

import time
from dataclasses import replace

import psutil
import pytest
from toy_worker import ToySpec, ToyWorker, build_toy

from evomerge.cluster.ray_pool import RayPool
from evomerge.cluster.serial import SerialPool
from evomerge.errors import UserError
from evomerge.types import Done, Expert, Lesson, Pool, Recipe, Work

EXPERTS = (Expert("a", "a"), Expert("b", "b"))


def work(key: str, *weights: float, method: str = "linear") -> Work:
    return Work(key, Recipe("base", EXPERTS, method, (weights or (0.5, 0.5),)), "search", ("a", "b"))


def collect(pool: Pool, count: int, seconds: float = 60.0) -> dict[str, Done]:
    results: dict[str, Done] = {}
    deadline = time.monotonic() + seconds
    while len(results) < count and time.monotonic() < deadline:
        for done in pool.wait(timeout=1.0):
            assert done.key not in results
            results[done.key] = done
    return results


@pytest.fixture(scope="module")
def pool():
    with RayPool(ToySpec(), build_toy, workers=2, timeout=4.0, environment={"EVOMERGE_X": "x"}) as pool:
        yield pool


def test_serial_evaluates_in_order_inside_wait():
    pool = SerialPool(ToyWorker(ToySpec()))
    assert pool.size == 1 and pool.wait() == []
    for key in "xyz":
        pool.submit(work(key))
    assert pool.wait(timeout=0.0) == []
    assert [done.key for _ in range(3) for done in pool.wait()] == ["x", "y", "z"]


def test_an_exception_is_one_line_of_a_failed_candidate():
    pool = SerialPool(ToyWorker(ToySpec()))
    pool.submit(work("x", method="raises"))
    (done,) = pool.wait()
    assert done.error == "ValueError: this recipe is poison" and done.items == ()


def lesson(key: str, method: str = "core_tsv") -> Lesson:
    return Lesson(key, Recipe("base", EXPERTS, method, ((1.0, 1.0),)), seed=7)


def test_a_lesson_is_another_kind_of_work(pool):
    for own in (SerialPool(ToyWorker(ToySpec())), pool):
        own.submit(lesson("learn"))
        own.submit(work("x"))
        own.submit(lesson("poison", method="raises"))
        found = collect(own, 3)
        assert found["learn"].learned.weights == ((7.0,),) and found["learn"].error is None
        assert found["x"].items and found["x"].learned is None
        assert found["poison"].learned is None and found["poison"].error == "ValueError: this recipe is poison"


def test_a_task_without_items_is_a_failed_candidate():
    class Half:
        def evaluate(self, work: Work) -> Done:
            done = ToyWorker(ToySpec()).evaluate(work)
            return replace(done, items=tuple(item for item in done.items if item.task == "a"))

    pool = SerialPool(Half())
    pool.submit(work("x"))
    (done,) = pool.wait()
    assert done.error == "no item of b was scored" and done.items == ()


def test_ray_answers_as_serial_does(pool):
    serial = SerialPool(ToyWorker(ToySpec()))
    works = [work(str(i), i / 8, 1 - i / 8) for i in range(8)]
    for one in works:
        serial.submit(one)
        pool.submit(one)
    remote = collect(pool, 8)
    local = collect(serial, 8)
    assert {k: d.items for k, d in remote.items()} == {k: d.items for k, d in local.items()}
    assert pool.size == 2


def test_a_worker_that_dies_is_replaced_and_its_work_done(pool, tmp_path):
    pool.submit(work("once", method=f"dies once:{tmp_path / 'marker'}"))
    pool.submit(work("other"))
    results = collect(pool, 2)
    assert results["once"].error is None and results["other"].error is None


def test_the_second_death_is_a_failed_candidate_and_the_pool_goes_on(pool):
    pool.submit(work("poison", method="dies"))
    results = collect(pool, 1)
    assert "died 2 times" in (results["poison"].error or "")
    pool.submit(work("after"))
    assert collect(pool, 1)["after"].error is None


def test_an_evaluation_that_hangs_is_stopped(pool):
    pool.submit(work("stuck", method="hangs"))
    start = time.monotonic()
    results = collect(pool, 1)
    assert "stopped after 4 s" in (results["stuck"].error or "")
    assert time.monotonic() - start < 20
    pool.submit(work("after"))
    assert collect(pool, 1)["after"].error is None


def test_a_second_pool_that_finds_no_room_says_so(pool):
    with pytest.raises(UserError, match=r"workers=1 needs 1 CPUs, but of Ray's 2 only 0 are free: close the pool"):
        RayPool(ToySpec(), build_toy)
    pool.submit(work("after"))
    assert collect(pool, 1)["after"].error is None


def test_workers_killed_from_outside_cost_no_candidate(pool):
    """As by the kernel when memory runs out."""
    for key in ("a", "b", "c"):
        pool.submit(work(key, method="waits"))
    time.sleep(1.0)
    workers = [p for p in psutil.Process().children(recursive=True) if "_Host" in " ".join(p.cmdline())]
    assert len(workers) == 2
    for process in workers:
        process.kill()
    assert {done.error for done in collect(pool, 3).values()} == {None}


def test_workers_wait_passively(pool):
    pool.submit(work("env", method="environment"))
    assert collect(pool, 1)["env"].isolation == "1 PASSIVE 0 x"
