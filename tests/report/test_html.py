"""The page itself, and in headless Chromium where there is one."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from evomerge import Run
from evomerge.report.html import payload, render

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--virtual-time-budget=3000", "--dump-dom",
)  # fmt: skip


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    questions = {("sql", "sql_001"): "<b>Which</b> </script> question?"}
    return render(payload(Run(finished), questions))


def browse(page: str, folder: Path) -> tuple[str, str]:
    """The document after its script ran, and what the browser logged."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", file.as_uri()],
        capture_output=True, text=True, timeout=120, env={**os.environ, "HOME": str(folder)},
    )  # fmt: skip
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


def test_it_needs_no_network(page: str) -> None:
    assert re.findall(r"<link|<img|<iframe|src=\"|href=|@import|url\(", page.split('id="data">')[0]) == []
    script = page.rsplit("<script>", 1)[1]
    assert set(re.findall(r"https?://[^\"']+", script)) == {"http://www.w3.org/2000/svg"}
    assert "@STYLE" not in page and "@SCRIPT" not in page and "@DATA@" not in page


def test_hostile_answers_cannot_leave_the_data(page: str, fabricate: ModuleType) -> None:
    data = page.split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert "<" not in data
    answers = [a[1] for sample in json.loads(data)["samples"] for a in sample["answers"]]
    assert fabricate.HOSTILE in answers


def test_placeholders_in_the_data_are_left_alone(finished: Path) -> None:
    data = payload(Run(finished))
    data["samples"][0]["item"] = "@SCRIPT@ @STYLE@ @DATA@"
    assert "@SCRIPT@ @STYLE@ @DATA@" in render(data)


def test_numbers_that_json_lacks(finished: Path) -> None:
    data = payload(Run(finished))
    data["points"][0]["min_retention"] = float("nan")
    text = render(data).split('id="data">')[1].split("</script>")[0]
    assert json.loads(text)["points"][0]["min_retention"] is None


def test_the_browser_draws_everything_without_an_error(page: str, tmp_path: Path, fabricate: ModuleType) -> None:
    document, console = browse(page, tmp_path)
    root = document.split(">", 2)[1]
    assert 'data-drawn="yes"' in root and "data-errors" not in root
    assert console == ""
    body = document.split("<script", 1)[0]
    assert body.count('class="dot') == 18  # scored candidates
    assert re.search(r'id="gain"><svg', body) and body.count('class="whisker"') == 9
    assert body.count('<td style="background') == 12  # 4 layer groups x 3 experts
    assert "<title>finished: evomerge</title>" in body  # "owned" would stand here
    assert "<img" not in body and "<b>Which" not in body
    written = html.unescape(re.sub(r"<[^>]+>", "", body))
    assert fabricate.HOSTILE in written and "<b>Which</b> </script> question?" in written
    assert "out of memory" in written


def test_a_click_copies_the_merge_command(page: str, tmp_path: Path, finished: Path) -> None:
    run = Run(finished)
    number = int(run.front()["number"].iloc[0])
    click = f"document.querySelector('[data-number=\"{number}\"]').dispatchEvent(new MouseEvent('click'));"
    driven = re.sub(r"<meta http-equiv[^>]*>", "", page).replace("</body>", f"<script>{click}</script></body>")
    document, console = browse(driven, tmp_path)
    assert console == ""
    copied = re.search(r'data-copied="([^"]*)"', document)
    assert copied is not None
    assert copied[1].startswith("python -m evomerge job=merge recipe=")
    assert copied[1].endswith(f"recipes/{number:03d}.yaml out=merged")
    assert f"Candidate {number}" in document


def test_no_foreign_script_runs(page: str, tmp_path: Path) -> None:
    """The content security policy, tried: a script that got into the page does nothing."""
    document, console = browse(page.replace("</body>", "<script>document.title = 'owned'</script></body>"), tmp_path)
    assert "<title>finished: evomerge</title>" in document and "Content Security Policy" in console


@pytest.mark.parametrize("tasks", [("sql",), ("sql", "code", "json", "law")])
def test_any_number_of_tasks_is_drawn(
    tasks: tuple[str, ...], fabricate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fabricate.BEST, "law", 0.5)
    monkeypatch.setitem(fabricate.BASE, "law", 0.1)
    run = Run(fabricate.fabricate(tmp_path / "run", budget=9, tasks=tasks, failures=0))
    document, console = browse(render(payload(run)), tmp_path)
    assert console == "" and "data-errors" not in document.split(">", 2)[1]
    assert document.split("<script", 1)[0].count('class="dot') == len(run.scored)
