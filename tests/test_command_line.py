"""What a person sees who asks for something that cannot be, and what the command line costs before it does anything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import evomerge

RECIPE = """\
base: base
method: ties
experts:
  - {name: sql, model: sql, weight: 1.0, density: 1.5}
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tasks=[sqll]"], "unknown tasks 'sqll': did you mean 'sql'?"),
        (["search.budgett=3"], "unknown setting 'search.budgett': did you mean 'budget'?"),
        (["search.budget=many"], "search.budget=many"),
        (["search.budget=0"], "search.budget must be at least 1, got 0"),
        (["search=gpp"], "unknown search 'gpp': did you mean 'gp'?"),
        (["+experiment=sql_code_jso"], "did you mean 'sql_code_json'?"),
        (["job=serach"], "unknown job 'serach': did you mean 'search'?"),
        (["models=mistral-7b"], "models.experts.code has to be set"),
        (["models.base=no-such-folder"], "no model 'no-such-folder'"),
        (["job=merge", "recipe=recipe.yaml"], "job=merge needs out="),
        (["job=merge", "recipe=recipe.yaml", "out=merged"], "density must be in (0, 1], got 1.5"),
        (["job=merge", "recipe=nowhere.yaml", "out=merged"], "nowhere.yaml"),
        (["job=report", "run=nowhere"], "nowhere"),
        (["job=evaluate"], "job=evaluate needs model="),
    ],
)
def test_one_line_and_exit_code_two(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    result = evomerge(*arguments, folder=tmp_path)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    assert result.stdout == ""


def test_missing_adapter_folder_is_named(tmp_path: Path, pico_model) -> None:
    result = evomerge(
        f"models.base={pico_model()}", "models.experts.sql=adapters/sql", "cluster=serial", folder=tmp_path
    )
    assert result.returncode == 2
    assert "adapters/sql" in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


def test_help_lists_jobs_and_choices(tmp_path: Path) -> None:
    result = evomerge("--help", folder=tmp_path)
    assert result.returncode == 0
    for word in ("job=merge", "job=evaluate", "experiment: sql_code_json", "search: cmaes, gp, nsga2, random, tpe"):
        assert word in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    heavy = ("torch", "ray", "optuna", "pandas")
    script = f"import sys, evomerge.__main__; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_methods_are_listed(tmp_path: Path) -> None:
    result = evomerge("job=methods", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "ties" in result.stdout and "core_tsv" in result.stdout
