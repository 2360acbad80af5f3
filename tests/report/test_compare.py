from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from run_evomerge import evomerge

from evomerge.errors import UserError
from evomerge.report.compare import comparison, headline, write_comparison
from evomerge.report.results import results
from evomerge.report.run_data import RunData
from evomerge.report.run_frames import hypervolume_frame
from evomerge.report.tables import write_front


@pytest.fixture(scope="module")
def longer(fabricate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(fabricate.fabricate(tmp_path_factory.mktemp("runs") / "longer", budget=30))


def bent(source: Path, target: Path, **settings: Any) -> Path:
    """A copy of a run with other settings of its task sql."""
    shutil.copytree(source, target)
    config = yaml.safe_load((target / "config.yaml").read_text())
    config["tasks"]["sql"] |= settings
    (target / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return target


def test_fronts_curves_and_winners_are_those_of_the_runs(finished: Path, longer: Path, interrupted: Path) -> None:
    runs = [RunData(folder) for folder in (finished, longer, interrupted)]
    data = comparison(runs)
    assert data["differs"] == ["budget"] and [entry["settings"] for entry in data["runs"]] == [["20"], ["30"], ["5"]]
    for place, (run, entry) in enumerate(zip(runs, data["runs"], strict=True)):
        drawn = {p["number"] for p in data["points"] if p["run"] == place}
        assert drawn == {t.number for t in run.front_trials} | ({run.winner.number} if run.winner else set())
        assert [step["hypervolume"] for step in entry["history"]] == list(hypervolume_frame(run)["hypervolume"])
        row = results(run).winner
        assert (entry["winner"] is None) == (row is None)
        if row is not None and row.retention is not None:
            assert entry["winner"]["retention"]["low"] == row.retention.low
    assert sum(entry["best"] for entry in data["runs"]) == 1


def test_the_difference_is_paired(finished: Path, tmp_path: Path) -> None:
    """A run beside its own copy: the same answers to the same items differ by nothing, whatever is drawn."""
    copy = shutil.copytree(finished, tmp_path / "copy")
    data = comparison([RunData(finished), RunData(copy)])
    (behind,) = [entry["behind"] for entry in data["runs"] if entry["behind"]]
    assert behind == {"mean": 0.0, "low": 0.0, "high": 0.0}
    assert "equally good" in data["headline"]
    names = [entry["name"] for entry in data["runs"]]  # both are called "finished" in their configurations
    assert len(set(names)) == 2 and all(Path(tmp_path.parent, name).name in ("finished", "copy") for name in names)


def test_the_headline_follows_the_interval(finished: Path, longer: Path) -> None:
    data = comparison([RunData(finished), RunData(longer)])
    best = next(entry for entry in data["runs"] if entry["best"])
    (gap,) = [entry["behind"] for entry in data["runs"] if entry["behind"]]
    assert gap["mean"] <= 0 and gap["low"] <= gap["mean"] <= gap["high"]
    assert data["headline"].startswith(best["name"])
    assert ("best winner" in data["headline"]) == (gap["high"] < 0)


@pytest.mark.parametrize(
    ("third", "said"),
    [
        ((-0.3, -0.5, -0.1), "a has the best winner"),
        ((-0.3, -0.7, 0.1), "a leads, not surely"),  # further behind than b, and less surely
        (None, "a has the best winner so far, without c"),
    ],
)
def test_the_best_is_surely_better_than_every_other(third: tuple[float, ...] | None, said: str) -> None:
    def entry(name: str, gap: tuple[float, ...] | None, finished: bool = True) -> dict[str, Any]:
        behind = None if gap is None else dict(zip(("mean", "low", "high"), gap, strict=True))
        winner = {"retention": {"mean": 0.9}} if finished else None
        return {"name": name, "best": name == "a", "behind": behind, "winner": winner}

    entries = [entry("a", None), entry("b", (-0.2, -0.3, -0.1)), entry("c", third, finished=third is not None)]
    assert headline(entries)[0] == said


def test_other_tasks_are_refused(finished: Path, fabricate: ModuleType, tmp_path: Path) -> None:
    two = fabricate.fabricate(tmp_path / "two", budget=9, tasks=("sql", "code"), failures=0)
    with pytest.raises(UserError, match=r"searched for sql, code, json, .*two for sql, code: compare runs of the same"):
        write_comparison([finished, two], tmp_path)
    limited = bent(finished, tmp_path / "limited", task="spider")
    with pytest.raises(UserError, match=r"tasks\.sql\.task is sql in .* and spider in .*limited: compare") as caught:
        write_comparison([finished, limited], tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "comparison.html").exists()


def test_other_items_are_refused(finished: Path, tmp_path: Path) -> None:
    """The settings say the same, the data behind them do not."""
    other = shutil.copytree(finished, tmp_path / "other")
    journal = other / "study.journal"
    journal.write_text(journal.read_text().replace("sql_003", "sql_903"))
    with pytest.raises(UserError, match=r"the search items of task sql are others in .* than in .*other"):
        write_comparison([finished, other], tmp_path)


def test_how_many_runs(finished: Path, interrupted: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="2 to 8 runs, got 1"):
        write_comparison([finished], tmp_path)
    with pytest.raises(UserError, match="2 to 8 runs, got 9"):
        write_comparison([finished] * 9, tmp_path)
    with pytest.raises(UserError, match=r"names .* twice"):
        write_comparison([finished, interrupted, finished], tmp_path)
    copies = [shutil.copytree(interrupted, tmp_path / f"copy{n}") for n in range(8)]
    page = write_comparison(copies, tmp_path / "deep" / "eight.html")
    assert page == tmp_path / "deep" / "eight.html" and page.is_file()


def test_a_page_takes_the_place_of_a_former_one_only(finished: Path, longer: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html><title>my site</title>")
    (tmp_path / "notes").write_text("mine")
    for out, text in (("index.html", "is there and no page of evomerge: give another name"), ("notes", "cannot write")):
        with pytest.raises(UserError, match=text):
            write_comparison([finished, longer], tmp_path / out)
    assert (tmp_path / "index.html").read_text().endswith("my site</title>")
    assert write_comparison([finished, longer], tmp_path) == write_comparison([finished, longer], tmp_path)


def test_the_same_runs_give_the_same_bytes(finished: Path, longer: Path, tmp_path: Path) -> None:
    first = write_comparison([finished, longer], tmp_path / "a").read_bytes()
    assert first == write_comparison([finished, longer], tmp_path / "b").read_bytes()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["comparison.html"]


def test_on_the_command_line(finished: Path, longer: Path, interrupted: Path, tmp_path: Path) -> None:
    done = evomerge("job=report", f"run=[{finished},{longer}]", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "comparison.html").is_file() and "comparison.html" in done.stdout
    other = bent(interrupted, tmp_path / "other", expert="code")
    done = evomerge("job=report", f"run=[{finished},{other}]", "out=there", folder=tmp_path)
    assert done.returncode == 2 and not (tmp_path / "there").exists()
    assert len(done.stderr.strip().splitlines()) == 1 and "tasks.sql.expert is sql" in done.stderr


@pytest.mark.parametrize("width", [360, 1200])
def test_both_runs_are_drawn(finished: Path, longer: Path, tmp_path: Path, browser: Any, width: int) -> None:
    page = write_comparison([finished, longer], tmp_path)
    browser.open(page, width=width)
    assert browser.console == [] and browser.js("document.documentElement.dataset.errors || ''") == ""
    assert browser.js("document.documentElement.scrollWidth <= window.innerWidth")
    assert browser.js("document.querySelectorAll('#gain .curve').length") == 2
    assert browser.js("document.querySelectorAll('#table tbody tr').length") == 2
    runs = "new Set([...document.querySelectorAll('#planes .dot')].map(e => e.dataset.id.split('-')[0]))"
    assert browser.js(f"[...{runs}].sort().join()") == "0,1"
    shapes = "new Set([...document.querySelectorAll('#planes .dot:not(.best)')].map(e => e.getAttribute('d')))"
    assert browser.js(f"{shapes}.size") == 2  # told apart without colour
    browser.click("#legend button")
    assert browser.js("document.querySelectorAll('#gain .curve').length") == 1
    assert browser.js(f"[...{runs}].join()") == "1"


def test_a_click_copies_the_command_of_the_right_run(
    finished: Path, longer: Path, tmp_path: Path, browser: Any
) -> None:
    write_front(RunData(longer))
    page = write_comparison([finished, longer], tmp_path)
    browser.open(page)
    browser.click('#planes .dot.best[data-id^="1-"]')
    browser.wait("!document.getElementById('toast').hidden")
    winner = RunData(longer).winner
    assert winner is not None
    assert browser.clipboard().endswith(f"{longer}/recipes/{winner.number:03d}.yaml out=merged-{winner.number:03d}")


def test_hostile_names_show_as_text(finished: Path, interrupted: Path, tmp_path: Path, browser: Any) -> None:
    run = shutil.copytree(interrupted, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["name"] = "<img src=x onerror=\"document.title='owned'\">"
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    page = write_comparison([finished, run], tmp_path)
    assert "<" not in page.read_text().split('id="data">')[1].split("</script>")[0]
    browser.open(page)
    assert browser.js("document.title") == "2 runs: evomerge"
    assert json.dumps(config["name"])[1:20] in browser.js("document.getElementById('table').textContent")
