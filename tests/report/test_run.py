from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from evomerge import Run
from evomerge.errors import UserError
from evomerge.recipes.recipe_yaml import load
from evomerge.search.pareto import hypervolume, nondominated


def test_import_is_light() -> None:
    code = "import sys, evomerge; assert not {'torch', 'pandas', 'optuna', 'numpy'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_trials_have_a_row_per_candidate(finished: Path) -> None:
    trials = Run(finished).trials
    assert len(trials) == 20
    assert trials["error"].notna().sum() == 2
    assert {"label", "method", "sql", "sql_low", "sql_high", "min_retention", "weight.g0.sql"} <= set(trials.columns)
    good = trials[trials["error"].isna()]
    assert ((good["sql_low"] <= good["sql"]) & (good["sql"] <= good["sql_high"])).all()
    assert good["min_retention"].notna().all() and trials["winner"].sum() == 1


def test_front_holds_exactly_the_nondominated(finished: Path) -> None:
    run = Run(finished)
    good = run.trials[run.trials["error"].isna()]
    mask = nondominated(1 - good[list(run.tasks)].to_numpy())
    assert set(run.front()["number"]) == set(good["number"][mask])
    assert run.front()["min_retention"].is_monotonic_decreasing
    assert set(run.front()["number"]) <= run.recipes.keys()


def test_retention_is_relative_to_the_expert(finished: Path) -> None:
    run = Run(finished)
    references = {o.task: o.reference for o in run.objectives}
    row = run.trials[run.trials["label"] == "uniform"].iloc[0]
    assert row["min_retention"] == pytest.approx(min(row[task] / references[task] for task in run.tasks))


def test_hypervolume_grows_to_that_of_all_trials(finished: Path) -> None:
    run = Run(finished)
    history = run.hypervolume()
    good = run.trials[run.trials["error"].isna()]
    assert len(history) == len(good) and history["hypervolume"].is_monotonic_increasing
    last = hypervolume(1 - good[list(run.tasks)].to_numpy(), np.ones(3))
    assert history["hypervolume"].iloc[-1] == pytest.approx(last)
    assert history["trials"].iloc[-1] == 20


def test_winner_is_the_recipe_delivered(finished: Path) -> None:
    run = Run(finished)
    assert run.winner is not None
    assert run.winner.recipe.fingerprint == load(finished / "best" / "recipe.yaml").fingerprint
    assert run.recipe(run.winner.number) == run.winner.recipe


def test_winner_is_read_off_the_store_without_the_delivery(fabricate: ModuleType, tmp_path: Path) -> None:
    folder = fabricate.fabricate(tmp_path / "run", budget=11, failures=0)
    delivered = Run(folder).winner
    (folder / "best" / "recipe.yaml").unlink()
    again = Run(folder).winner
    assert delivered is not None and again is not None and again.number == delivered.number


def test_items_name_their_split(finished: Path) -> None:
    items = Run(finished).items
    assert set(items["split"]) == {"search", "selection", "test"}
    one = items[(items["number"] == 0) & (items["split"] == "search") & (items["task"] == "sql")]
    assert len(one) == 80 and one["item"].is_unique


def test_an_interrupted_run_can_be_read(interrupted: Path) -> None:
    run = Run(interrupted)
    assert run.winner is None and len(run.trials) == 5
    assert run.table().empty and not run.front().empty and len(run.hypervolume()) == 5


def test_a_run_before_its_first_trial_can_be_read(tmp_path: Path, finished: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((finished / "config.yaml").read_bytes())
    run = Run(tmp_path)
    assert run.trials.empty and run.front().empty and run.winner is None and run.hypervolume().empty


def test_missing_things_are_said(tmp_path: Path, finished: Path) -> None:
    with pytest.raises(UserError, match="no run folder"):
        Run(tmp_path / "nothing")
    with pytest.raises(UserError, match=r"no config\.yaml"):
        Run(tmp_path)
    for text, said in (("tasks: [", "cannot be read"), ("- a", "names no tasks"), ("name: x", "names no tasks")):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(UserError, match=said):
            Run(tmp_path)
    with pytest.raises(UserError, match="no finished trial 999: numbers known are 0 to"):
        Run(finished).recipe(999)


def test_table_lists_models_in_reading_order(finished: Path) -> None:
    table = Run(finished).table()
    assert isinstance(table, pd.DataFrame)
    names = list(table["model"])
    assert names[:5] == ["base", "expert sql", "expert code", "expert json", "uniform average"]
    assert names[-1] == "winner" and {"TIES 0.1", "TIES 0.5", "DARE 0.5"} < set(names)
    assert table["humaneval"].notna().sum() == 3  # base, its expert, winner
