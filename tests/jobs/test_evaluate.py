"""Scores of a model on tasks of which one cannot be scored."""

from __future__ import annotations

import json
from pathlib import Path

from run_evomerge import evomerge

from evomerge.inference.device import default_dtype


def test_a_task_that_fails_keeps_no_others_scores_back(tmp_path: Path, pico_model) -> None:
    """HumanEval has test items only."""
    tasks = ["tasks=[humaneval,sql]", "tasks.sql.limit=2", "split=search"]
    result = evomerge("job=evaluate", f"model={pico_model()}", *tasks, "out=scores.json", folder=tmp_path)
    assert result.returncode == 2
    *_, said = result.stderr.strip().splitlines()
    assert "could not be scored: humaneval: " in said and "has no search items" in said
    assert json.loads((tmp_path / "scores.json").read_text()).keys() == {"sql"}
    assert f"search items, computed in {default_dtype('cpu')}" in " ".join(result.stdout.split())
