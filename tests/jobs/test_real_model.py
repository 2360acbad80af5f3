"""The shipped default, end to end: SmolLM2 from its wheel, three experts, a short search, and its winner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_evomerge import evomerge

from evomerge import Run

LIMITS = [f"tasks.{task}.limit={items}" for task, items in (("sql", 8), ("code", 8), ("json", 8))]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real")
    few = ["search.budget=3", "search.learned=false"]  # learning takes minutes here; test_learned_start has tiny models
    result = evomerge("+experiment=sql_code_json", *few, *LIMITS, "tasks.humaneval.limit=3", folder=folder)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_experts_do_what_they_were_trained_for(finished: Path) -> None:
    """The base writes no right SQL and no right JSON; the specialists do."""
    run = Run(finished / "outputs/sql_code_json")
    table = run.table().set_index("model")
    assert table.loc["base", "sql"] == 0
    assert table.loc["expert sql", "sql"] >= 0.25
    lines = [json.loads(line) for line in (run.folder / "evaluations.jsonl").read_text().splitlines()]
    scored = [line["items"] for line in lines if line["split"] == "test" and line["items"][0][0] == "json"]
    assert max(sum(item[2] for item in items) / len(items) for items in scored) >= 0.5


def test_winner_is_scored_again_the_same(finished: Path) -> None:
    best = finished / "outputs/sql_code_json/best"
    result = evomerge("job=evaluate", f"model={best / 'model'}", *LIMITS, "out=again.json", folder=finished)
    assert result.returncode == 0, result.stderr
    shipped = json.loads((best / "scores.json").read_text())["model"]
    again = json.loads((finished / "again.json").read_text())
    assert {task: shipped[task] for task in again} == again
