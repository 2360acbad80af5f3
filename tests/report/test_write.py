from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pandas as pd
import pytest
import yaml
from rich.console import Console

from evomerge.recipes.recipe_yaml import load
from evomerge.report.figures import draw_front
from evomerge.report.page_json import payload
from evomerge.report.results import CONTROL, display_name, results
from evomerge.report.run_data import RunData
from evomerge.report.run_frames import front_frame, trials_frame
from evomerge.report.shown_data import points, weights
from evomerge.report.tables import markdown
from evomerge.report.verdict import verdict
from evomerge.report.write import print_summary, write_report


@pytest.fixture(scope="module")
def written(finished: Path) -> Path:
    (finished / "recipes").mkdir(exist_ok=True)
    (finished / "recipes" / "998.yaml").write_text("left the front")
    write_report(finished)
    return finished


def test_front_files_agree_with_the_run(written: Path) -> None:
    run = RunData(written)
    table = pd.read_csv(written / "pareto.csv")
    assert list(table["number"]) == list(front_frame(trials_frame(run))["number"])
    content = json.loads((written / "pareto.json").read_text())
    for member in content["front"]:
        recipe = load(written / member["recipe"])
        assert recipe.fingerprint == member["fingerprint"] == run.recipe(member["number"]).fingerprint
    assert {int(path.stem) for path in (written / "recipes").iterdir()} == set(run.recipes)


def test_nothing_half_written_stays(written: Path) -> None:
    assert [path for path in written.rglob(".*") if path.is_file()] == []


def test_figures_are_pictures(written: Path) -> None:
    for name in ("front", "hypervolume", "parallel", "weights"):
        assert (written / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        drawing = ElementTree.parse(written / "figures" / f"{name}.svg").getroot()
        assert drawing.tag == "{http://www.w3.org/2000/svg}svg" and len(list(drawing.iter())) > 50


def test_a_figure_that_shows_a_part_says_so(
    fabricate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = ("a", "b", "c", "d", "e")
    for task in tasks:
        monkeypatch.setitem(fabricate.BEST, task, 0.5)
        monkeypatch.setitem(fabricate.BASE, task, 0.1)
    run = RunData(fabricate.fabricate(tmp_path / "run", budget=7, tasks=tasks, finished=False))
    figure = draw_front(run)
    assert len(figure.axes) == 6 and "6 of 10 pairs of objectives" in figure.get_suptitle()


def test_the_report_is_rebuilt_byte_for_byte(written: Path, tmp_path: Path) -> None:
    names = ("pareto.csv", "pareto.json", "report.html", "figures/front.png", "figures/front.svg")
    before = {name: (written / name).read_bytes() for name in names}
    for name in names:
        (written / name).unlink()
    shutil.rmtree(written / "recipes")
    write_report(written)
    assert {name: (written / name).read_bytes() for name in names} == before


def test_points_and_weights_are_those_of_the_trials(written: Path) -> None:
    run = RunData(written)
    found = points(run)
    assert [p.number for p in found] == [t.number for t in run.scored]
    assert sum(p.winner for p in found) == 1
    assert run.winner is not None
    shown = weights(run.winner.recipe)
    assert shown.values == run.winner.recipe.weights
    assert len(shown.groups) == 4 and shown.experts == ("sql", "code", "json")


def test_markdown_has_a_line_per_model(written: Path) -> None:
    run = RunData(written)
    lines = markdown(results(run)).strip().splitlines()
    assert len(lines) == 2 + len(results(run).rows)
    assert lines[0] == "|  | sql | code | json | smallest retention | humaneval |"
    assert len({line.count("|") for line in lines}) == 1
    assert lines[-1].startswith("| **winner** | **")


def test_the_verdict_follows_the_interval(written: Path) -> None:
    run = RunData(written)
    table = results(run)
    said, comparison = verdict(run, table), table.comparison
    assert comparison is not None
    gap = comparison.difference
    assert said.better == ("yes" if gap.low > 0 else "maybe" if gap.mean > 0 else "no")
    assert comparison.other in said.headline and f"{100 * gap.mean:+.1f} points" in said.detail
    # what was compared is the smallest retention: of the other skills it says nothing
    assert "every skill" not in said.headline and ("weakest skill" in said.headline or said.better != "yes")


def test_the_winner_is_compared_with_the_merge_that_the_search_items_chose(finished: Path) -> None:
    """Not with the one that is best on the test items, nor with one that was fitted to the search items."""
    run = RunData(finished)
    untuned = max((t for t in run.scored if t.label), key=run.min_retention)
    table = results(run)
    assert table.comparison is not None and table.comparison.other == display_name(str(untuned.label))
    (marked,) = [row for row in table.rows if row.untuned]
    assert marked.label == untuned.label and f"| {marked.name} (best untuned) |" in markdown(table)
    assert marked.name in set(table.frame()["model"]), "whoever reads the table by name finds the name"

    run.records = tuple(replace(t, label="learned") if t.number == untuned.number else t for t in run.records)
    second = max((t for t in run.scored if t.label and t.label != "learned"), key=run.min_retention)
    again = results(run).comparison
    assert again is not None and again.other == display_name(str(second.label)) != display_name(str(untuned.label))


def test_a_winner_that_is_an_anchor_was_not_found_by_the_search_unless_it_was_learned(finished: Path) -> None:
    run = RunData(finished)
    untuned = max((t for t in run.scored if t.label), key=run.min_retention)
    run.__dict__["winner"] = untuned
    said = verdict(run, results(run))
    assert said.better == "no" and display_name(str(untuned.label)) in said.headline
    run.records = tuple(replace(t, label="learned") if t.number == untuned.number else t for t in run.records)
    run.__dict__["winner"] = run.trial(untuned.number)
    table = results(run)
    assert table.comparison is not None and table.comparison.other in verdict(run, table).headline


def test_the_random_control_has_a_row_without_a_number(finished: Path) -> None:
    table = results(RunData(finished))
    (row,) = [row for row in table.rows if row.label == CONTROL]
    assert row.number is None and row.retention is not None and row.retention.mean == 0.0
    frame = table.frame().set_index("model")
    assert frame["number"].isna().sum() == 1 and str(frame["number"].dtype) == "Int64"


def test_the_verdict_names_no_expert_where_there_is_none(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    config = yaml.safe_load((finished / "config.yaml").read_text())
    for task in config["tasks"].values():
        task["expert"] = None
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config))
    run = RunData(tmp_path / "run")
    said = verdict(run, results(run))
    assert "it scores " in said.detail and "expert" not in said.detail


def test_verdicts_that_trust_the_answer_are_counted(finished: Path) -> None:
    run = RunData(finished)
    before = dict(payload(run)["work"])
    assert not any("trusts" in name for name in before)
    trial = run.scored[-1]
    items = [replace(item, metrics={**item.metrics, "trusted": 1.0}) for item in trial.items[:3]]
    run.records = tuple(
        replace(own, items=(*items, *own.items[3:])) if own.number == trial.number else own for own in run.records
    )
    work = dict(payload(run)["work"])
    assert work.pop("of these judged in one process with their tests, which trusts them") == "3" and work == before


def test_an_expert_keeps_all_of_its_own_task_at_most(written: Path) -> None:
    rows = {row.label: row for row in results(RunData(written)).rows}
    for task in ("sql", "code", "json"):
        kept = rows[f"expert:{task}"].retention
        assert kept is not None and kept.mean <= 1.0


def test_summary_says_where_things_are(written: Path) -> None:
    out = io.StringIO()
    print_summary(written, Console(file=out, width=120))
    text = out.getvalue()
    for expected in ("uniform average", "smallest retention", "best/model", "best/lora", "report.html", "job=evaluate"):
        assert expected in text


def test_an_interrupted_run_has_a_report(interrupted: Path) -> None:
    page = write_report(interrupted)
    assert "No winner yet" in page.read_text()
    assert payload(RunData(interrupted))["commands"] == []
    out = io.StringIO()
    print_summary(interrupted, Console(file=out, width=120))
    assert "5 of 5 candidates are scored" in out.getvalue()


def test_a_run_before_its_first_trial_has_a_report(tmp_path: Path, finished: Path) -> None:
    (tmp_path / "config.yaml").write_bytes((finished / "config.yaml").read_bytes())
    assert "0 of 20 candidates" in write_report(tmp_path).read_text()
