"""Answers of earlier candidates travel with later ones: the best of them, whatever the order, also after a kill."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from toy_space import ToySpace, objectives

from evomerge.cluster.serial import SerialPool
from evomerge.search.known_answers import AnswerIndex
from evomerge.search.loop import run_search
from evomerge.search.store import Store
from evomerge.types import Done, ItemScore, KnownAnswers, Recipe, Work

SPACE = ToySpace()


def item(answer: str, number: int = 0, **metrics: float) -> ItemScore:
    return ItemScore("a", str(number), 0.5, answer, {"tokens": 3.0, "passes": 2.0, "valid": 1.0, **metrics})


def test_holds_the_same_whatever_the_order() -> None:
    rng = random.Random(0)
    models = [(n, [item(rng.choice("uvwxyz"), k) for k in range(4)], n in (1, 2)) for n in range(40)]
    found = []
    for _ in range(5):
        index = AnswerIndex()
        for source, items, expert in rng.sample(models, len(models)):
            index.add(source, items, expert)
        found.append(index.known(("a",)))
    assert all(known == found[0] for known in found)
    assert {len(known) for known in found[0]["a"].values()} == {6}


def test_experts_come_first_then_the_frequent_then_the_new() -> None:
    index = AnswerIndex()
    for source, answer in enumerate("xyyzzw"):
        index.add(source, [item(answer, trusted=1.0)], expert=answer == "x")
    [known] = index.known(("a", "b"))["a"].values()
    assert [answer.text for answer in known] == ["x", "z", "y", "w"]
    assert known[1].sources == (3, 4) and known[1].tokens == 3
    assert (known[1].outcome, known[1].metrics) == (0.5, {"valid": 1.0, "trusted": 1.0})


def test_the_size_of_a_work_is_bounded() -> None:
    index = AnswerIndex()
    for source in range(300):
        index.add(source, [item("same"), item(f"own {source}", 1)])
    known = index.known(("a",))["a"]
    assert known["0"][0].sources == tuple(range(284, 300))
    assert [answer.text for answer in known["1"]] == [f"own {n}" for n in range(299, 287, -1)]


def test_what_was_cut_off_or_not_generated_is_no_known_answer() -> None:
    index = AnswerIndex(verdicts=False)
    index.add(0, [item("cut", 0, cut=1.0), ItemScore("a", "1", 1.0, "choice", {"acc": 1.0}), item("whole", 2)])
    [known] = index.known(("a",))["a"].values()
    assert [(answer.text, answer.outcome, answer.metrics) for answer in known] == [("whole", None, {})]


class Remembering:
    """A worker whose answers depend on the recipe, that notes what each candidate is given, and stops once."""

    def __init__(self, stop: int | None = None) -> None:
        self.given: dict[str, KnownAnswers] = {}
        self.stop = stop

    def evaluate(self, work: Work) -> Done:
        assert isinstance(work.subject, Recipe)
        if len(self.given) == self.stop:
            raise KeyboardInterrupt
        self.given[work.subject.fingerprint] = work.known
        weights = work.subject.weights
        items = [
            ItemScore(task, str(n), min(1.0, weights[0][0]), f"{weights} {n % 3}", {"tokens": 4.0})
            for task in work.tasks
            for n in range(5)
        ]
        return Done(work.key, tuple(items), 0.0)


def searched(folder: Path, worker: Remembering, ahead: int) -> None:
    store = Store(folder)
    try:
        run_search(SerialPool(worker), SPACE, store, objectives(SPACE), 9, "random", ahead=ahead)
    finally:
        store.close()


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_resumed_search_gives_the_same_answers(tmp_path: Path, ahead: int) -> None:
    whole = Remembering()
    searched(tmp_path / "whole", whole, ahead)
    sizes = [sum(len(own) for own in known["a"].values()) for known in whole.given.values()]
    assert sizes[:5] == [5 * n for n in range(5)]
    for stop in range(9):
        folder = tmp_path / str(stop)
        killed = Remembering(stop)
        with pytest.raises(KeyboardInterrupt):
            searched(folder, killed, ahead)
        resumed = Remembering()
        searched(folder, resumed, ahead)
        assert killed.given | resumed.given == whole.given


SCRIPT = """
import dataclasses, json, os, signal, sys
sys.path[:0] = {paths!r}
from test_known_answers import Remembering, searched
from pathlib import Path

class Killed(Remembering):
    def evaluate(self, work):
        done = super().evaluate(work)
        known = [[t, n, [dataclasses.asdict(a) for a in own]] for t in work.known for n, own in work.known[t].items()]
        with open({log!r}, "a") as file:
            file.write(json.dumps([work.subject.fingerprint, known]) + chr(10))
        if len(self.given) == {stop}:
            os.kill(os.getpid(), signal.SIGKILL)
        return done

searched(Path({folder!r}), Killed(), 1)
"""


def test_a_search_killed_twice_gives_the_same_answers(tmp_path: Path) -> None:
    def logged(name: str, stops: tuple[int, ...]) -> dict[str, object]:
        log = tmp_path / f"{name}.log"
        for stop in stops:
            script = SCRIPT.format(
                paths=[str(Path(__file__).parent), str(Path(__file__).parents[1])],
                log=str(log),
                stop=stop,
                folder=str(tmp_path / name),
            )
            code = subprocess.run([sys.executable, "-c", script], check=False).returncode
            assert code == (-9 if stop else 0)
        return dict(json.loads(line) for line in log.read_text().splitlines())

    whole = logged("whole", (0,))
    assert len(whole) == 9
    assert logged("killed", (3, 4, 0)) == whole
    trials, resumed = (Store(tmp_path / name).trials() for name in ("whole", "killed"))
    assert [(t.recipe, t.items) for t in trials] == [(t.recipe, t.items) for t in resumed]
