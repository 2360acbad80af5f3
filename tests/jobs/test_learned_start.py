"""A search that starts from learned weights, on tiny models: killed, resumed, tampered with."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from run_evomerge import ENVIRONMENT, command, evomerge

from evomerge.search.store import Store

BUDGET = 15


@pytest.fixture(scope="module")
def arguments(pico_model, pico_adapter) -> list[str]:
    base = pico_model(dtype="float32")
    return [
        "name=x",
        f"search.budget={BUDGET}",
        "search=random",
        "search.learned=gold",
        f"models.base={base}",
        *(f"models.experts.{name}={pico_adapter(n, base, size=0.15)}" for n, name in enumerate(("sql", "json"), 1)),
        "tasks=[sql,json]",
        *(f"tasks.{task}.limit=12" for task in ("sql", "json")),
        *(f"tasks.{task}.max_new_tokens=8" for task in ("sql", "json")),
        "space.methods=[core_tsv,core_task_arithmetic]",
        "space.layer_groups=1",
        "cluster=serial",
        "cluster.threads=1",
        "backend.dtype=float32",
        "latency.measure=false",
    ]


@pytest.fixture(scope="module")
def finished(arguments: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a whole run, and what it said."""
    folder = tmp_path_factory.mktemp("learned")
    result = evomerge(*arguments, folder=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder, result.stdout + result.stderr


def told(run: Path) -> list[tuple]:
    return [(t.number, t.label, t.recipe.fingerprint, t.items) for t in Store(run).trials()]


def test_the_learned_weights_are_an_anchor_a_profile_and_a_row(finished):
    folder, said = finished
    run = folder / "outputs" / "x"
    learned = json.loads((run / "learned.json").read_text())
    line = f"learned weights: {learned['steps']} steps, {learned['seconds'] / 60:.1f} min, held-back loss "
    assert line + f"{learned['loss_before']:.2f} -> {learned['loss_after']:.2f} nats an answer" in said
    assert learned["loss_after"] < learned["loss_before"] and learned["answers"].keys() == {"sql", "json"}
    trials = {trial.label: trial for trial in Store(run).trials() if trial.label}
    assert list(trials)[:3] == ["base", "expert:sql", "expert:json"] and list(trials)[-1] == "learned"
    recipe = trials["learned"].recipe
    assert recipe.method == "core_tsv" and recipe.weights == tuple(tuple(row) for row in learned["weights"])
    assert len(recipe.weights) == 2, "one row a layer, in a space of one group"
    profiles = {trial.params["profile"] for trial in Store(run).trials() if trial.label is None}
    assert len(profiles) > 1 and profiles <= {"flat", "lines", "learned"}
    assert json.loads((run / "environment.json").read_text())["seconds"]["learn"] > 0
    assert "learned" in (run / "report.html").read_text()


def test_base_and_experts_are_scored_once(finished):
    """Before the learning; the search takes their scores from the store."""
    run = finished[0] / "outputs" / "x"
    store = Store(run)
    for trial in store.trials()[:3]:
        assert trial.items == store.evaluation(trial.recipe.fingerprint, "search", ("sql", "json"))


def test_killed_while_it_learns_and_resumed_it_is_the_same_run(finished, arguments, tmp_path):
    driver = subprocess.Popen(command(*arguments), cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    run, deadline = tmp_path / "outputs" / "x", time.monotonic() + 300
    lines = run / "evaluations.jsonl"
    while not lines.exists() or lines.read_bytes().count(b"\n") < 6:  # 3 models, 2 tasks: all that comes before
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    assert not (run / "learned.json").exists(), "it was over before it was killed"
    assert evomerge(*arguments, folder=tmp_path).returncode == 0
    assert told(run) == told(finished[0] / "outputs" / "x")
    again, first = (json.loads((p / "learned.json").read_text()) for p in (run, finished[0] / "outputs" / "x"))
    assert again | {"seconds": 0} == first | {"seconds": 0}


def test_ray_learns_the_same(finished, arguments, tmp_path):
    ray = ["cluster=ray", "cluster.workers=1", "cluster.threads=1", "search.budget=4"]
    result = evomerge(*(a for a in arguments if not a.startswith(("cluster", "search.budget"))), *ray, folder=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    again, first = (
        json.loads((folder / "outputs" / "x" / "learned.json").read_text()) for folder in (tmp_path, finished[0])
    )
    assert again["weights"] == first["weights"]


def test_other_learned_weights_are_refused(finished, arguments, tmp_path):
    shutil.copytree(finished[0] / "outputs", tmp_path / "outputs")
    path = tmp_path / "outputs" / "x" / "learned.json"
    values = json.loads(path.read_text())
    values["weights"][0][0] += 0.001
    path.write_text(json.dumps(values))
    result = evomerge(*arguments, folder=tmp_path)
    assert result.returncode == 2 and "other learned.json" in result.stderr
    path.write_text('{"weights": [[1.0]], "method": "core_tsv"}')
    result = evomerge(*arguments, folder=tmp_path)
    assert result.returncode == 2 and "learned.json holds no learned weights" in result.stderr
    path.unlink()  # learned again: the same
    assert evomerge(*arguments, folder=tmp_path).returncode == 0
    assert told(tmp_path / "outputs" / "x") == told(finished[0] / "outputs" / "x")


def test_another_choice_of_targets_is_another_search(finished, arguments):
    result = evomerge(*arguments, "search.learned=false", folder=finished[0])
    assert result.returncode == 2 and "other search.learned" in result.stderr


def test_an_unknown_choice_of_targets_is_refused(arguments, tmp_path):
    result = evomerge(*arguments, "search.learned=mine", folder=tmp_path)
    assert result.returncode == 2
    assert "search.learned must be one of own, gold, false, got 'mine'" in result.stderr
