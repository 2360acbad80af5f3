"""optuna-dashboard reads a run's journal, as docs/delivery.md describes."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from toy_space import ToySpace, objectives
from toy_worker import Counting

from evomerge.cluster.serial import SerialPool
from evomerge.search.loop import run_search
from evomerge.search.store import Store

SPACE = ToySpace()


def test_optuna_dashboard_shows_the_trials(tmp_path: Path) -> None:
    store = Store(tmp_path)
    trials = run_search(SerialPool(Counting()), SPACE, store, objectives(SPACE), 8, "random")
    store.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), str(tmp_path / "study.journal")]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], stdout=log, stderr=log)
    try:
        page = fetch(f"http://127.0.0.1:{port}/dashboard", server)
        assert b"<html" in page.lower() and b"/static/" in page
        (study,) = json.loads(fetch(f"http://127.0.0.1:{port}/api/studies", server))["study_summaries"]
        assert study["study_name"] == "evomerge"
        shown = json.loads(fetch(f"http://127.0.0.1:{port}/api/studies/{study['study_id']}", server))
    finally:
        server.terminate()
        server.wait()
    assert [trial["number"] for trial in shown["trials"]] == [trial.number for trial in trials]
    losses = [[1 - trial.scores[task].mean for task in ("a", "b")] for trial in trials]
    assert [trial["values"] for trial in shown["trials"]] == losses
    assert len(shown["directions"]) == 2


def fetch(url: str, server: subprocess.Popen[bytes]) -> bytes:
    """The body of a page, as soon as the server is there."""
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return bytes(answer.read())
        except urllib.error.URLError as error:
            assert server.poll() is None, "the dashboard ended"
            assert not isinstance(error, urllib.error.HTTPError) and time.monotonic() < deadline
            time.sleep(0.2)
