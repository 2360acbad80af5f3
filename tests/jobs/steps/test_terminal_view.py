"""Progress of a search: a table in a terminal, log lines elsewhere."""

from __future__ import annotations

import io
import re

from rich.console import Console
from toy_space import ToySpace, objectives
from toy_worker import Counting

from evomerge.cluster.serial import SerialPool
from evomerge.jobs.steps.terminal_view import LiveView, LogLines, listener
from evomerge.search.loop import run_search
from evomerge.search.progress import clock
from evomerge.search.store import Store


def watched(folder, view, space, budget=12):
    store = Store(folder)
    run_search(SerialPool(Counting()), space, store, objectives(space), budget, "random", listener=view, ahead=1)
    store.close()


def test_log_lines(tmp_path):
    out = io.StringIO()
    view = listener(Console(file=out, width=40))
    assert isinstance(view, LogLines)
    watched(tmp_path, view, ToySpace(methods=("linear", "raises")))
    lines = out.getvalue().splitlines()
    assert len(lines) == 13  # long ones are not wrapped
    assert lines[0] == "searching: 12 candidates, 1 worker"
    assert re.fullmatch(
        r"\[ 4/12\] #3 uniform  a 0\.68  b 0\.68  min-retention 0\.68  hv 0\.4\d\d  0 s  left \d+ s", lines[4]
    )
    assert any("failed: ValueError: this recipe is poison" in line for line in lines)
    watched(tmp_path, listener(Console(file=out)), ToySpace(methods=("linear", "raises")), 13)
    assert "searching: 13 candidates, 12 finished before, 1 worker" in out.getvalue()


def test_live_view_in_a_terminal(tmp_path):
    out = io.StringIO()
    view = listener(Console(file=out, force_terminal=True, width=120, height=40))
    assert isinstance(view, LiveView)
    watched(tmp_path, view, ToySpace(methods=("linear", "raises")))
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    last = text[text.rindex("12 of 12 trials") :]
    for word in ("hypervolume 0.", "failed", "elapsed", "min-retention", "expert:a", "last failure: #"):
        assert word in last


def test_clock():
    assert [clock(s) for s in (0, 89, 91, 5900, 7500)] == ["0 s", "89 s", "2 min", "98 min", "2 h 05"]
