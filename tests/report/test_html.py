"""The report page: its text, and its behaviour in headless Chromium if there is one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from evomerge.files.small_files import write_text
from evomerge.report.html import SCRIPTS, render
from evomerge.report.page_json import payload
from evomerge.report.results import results
from evomerge.report.run_data import RunData


@pytest.fixture(scope="module")
def page(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("page") / "report.html"
    file.write_text(render(payload(RunData(finished), {("sql", "sql_001"): "<b>Which</b> </script> question?"})))
    return file


def in_order(browser: Any) -> bool:
    """Nothing was logged, nothing failed to draw, nothing sticks out to the right."""
    assert browser.console == []
    assert browser.js("document.documentElement.dataset.errors || ''") == ""
    return bool(browser.js("document.documentElement.scrollWidth <= window.innerWidth"))


def searched(run: RunData) -> int:
    """A member of the front that is neither winner nor anchor."""
    assert run.winner is not None
    return next(t.number for t in run.front_trials if t.label is None and t.number != run.winner.number)


def test_it_needs_no_network(page: Path) -> None:
    text = page.read_text()
    assert re.findall(r"<link|<img|<iframe|src=\"|href=|@import|url\(", text.split('id="data">')[0]) == []
    script = text.rsplit("<script>", 1)[1]
    assert set(re.findall(r"https?://[^\"']+", script)) == {"http://www.w3.org/2000/svg"}
    assert "@STYLE" not in text and "@SCRIPT" not in text and "@DATA@" not in text


def test_hostile_answers_cannot_leave_the_data(page: Path, fabricate: ModuleType) -> None:
    data = page.read_text().split('<script type="application/json" id="data">')[1].split("</script>")[0]
    assert "<" not in data
    answers = [a[1] for sample in json.loads(data)["samples"] for a in sample["answers"]]
    assert fabricate.HOSTILE in answers


def test_placeholders_in_the_data_are_left_alone(finished: Path) -> None:
    data = payload(RunData(finished))
    data["samples"][0]["item"] = "@SCRIPT@ @STYLE@ @DATA@"
    assert "@SCRIPT@ @STYLE@ @DATA@" in render(data)


def test_half_a_character_does_not_cost_the_page(finished: Path, tmp_path: Path) -> None:
    data = payload(RunData(finished), {("sql", "sql_001"): json.loads('"which \\ud83d?"')})
    write_text(tmp_path / "report.html", render(data))
    text = (tmp_path / "report.html").read_text().split('id="data">')[1].split("</script>")[0]
    assert any(sample["question"] == "which \ud83d?" for sample in json.loads(text)["samples"])


def test_numbers_that_json_lacks(finished: Path) -> None:
    data = payload(RunData(finished))
    data["points"][0]["min_retention"] = float("nan")
    text = render(data).split('id="data">')[1].split("</script>")[0]
    assert json.loads(text)["points"][0]["min_retention"] is None


def test_scripts_put_nothing_in_as_html() -> None:
    folder = Path(__file__).parents[2] / "evomerge" / "report" / "page"
    for name in {name for names in SCRIPTS.values() for name in names}:
        script = (folder / name).read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b", script)


@pytest.mark.parametrize("width", [360, 768, 1200])
@pytest.mark.parametrize("dark", [False, True])
def test_everything_is_drawn(page: Path, finished: Path, browser: Any, width: int, dark: bool) -> None:
    browser.open(page, width=width, dark=dark)
    assert in_order(browser)
    run = RunData(finished)
    browser.js("document.querySelector('#axes select').value = '0'")
    browser.js("document.querySelector('#axes select').dispatchEvent(new Event('change'))")
    count = "document.querySelectorAll('{}').length"
    assert browser.js(count.format("#planes svg")) == 3  # sql x code, sql x json, code x json
    assert browser.js(count.format("#planes .dot")) == 3 * len(run.scored)
    assert browser.js(count.format("#strands .strand")) == len(run.scored)
    assert browser.js(count.format("#gain .curve")) == 1
    assert browser.js(count.format("#weights td[style]")) == 12  # 4 layer groups x 3 experts
    assert browser.js(count.format("#table .whisker")) == len(results(run).rows)
    assert browser.js(count.format("#failures tr")) == 1 + len(run.failures)
    paper = browser.js("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g).map(Number)")
    assert (max(paper) < 64) if dark else (min(paper) > 192)


def test_hostile_answers_show_as_text(page: Path, browser: Any, fabricate: ModuleType) -> None:
    browser.open(page)
    assert browser.js("document.title") == "finished: evomerge"  # "owned" would stand here
    assert browser.js("document.querySelectorAll('main img, main script, #samples pre > *').length") == 0
    shown = browser.js("document.getElementById('samples').textContent")
    assert fabricate.HOSTILE in shown and "<b>Which</b> </script> question?" in shown
    for model in ("base", "expert sql", "expert code", "expert json", "winner"):
        assert model in shown
    assert "<b>out of memory</b>" in browser.js("document.getElementById('failures').textContent")


def test_no_foreign_script_runs(page: Path, browser: Any, tmp_path: Path) -> None:
    """The content security policy, tried: a script that got into the page does nothing."""
    bent = tmp_path / "bent.html"
    bent.write_text(page.read_text().replace("</body>", "<script>document.title = 'owned'</script></body>"))
    browser.open(bent)
    assert browser.js("document.title") == "finished: evomerge"
    assert any("Content Security Policy" in line for line in browser.console)


def test_pointing_shows_the_recipe_everywhere(page: Path, finished: Path, browser: Any) -> None:
    browser.open(page)
    run = RunData(finished)
    number = searched(run)
    browser.hover(f'#planes [data-id="{number}"].dot')
    assert browser.js(f"document.querySelectorAll('#planes .dot.hot[data-id=\"{number}\"]').length") == 3
    assert browser.js("document.querySelectorAll('#front .strand.hot').length") == 1
    card = browser.js("document.getElementById('candidate').textContent")
    recipe = run.recipe(number)
    assert f"Candidate {number}" in card and recipe.method in card
    for row in recipe.weights:
        assert all(f"{weight:.2f}" in card for weight in row)
    score = run.trial(number).scores["sql"]
    assert f"{100 * score.mean:.1f}({100 * score.low:.0f}–{100 * score.high:.0f})" in card


def test_a_click_copies_the_merge_command(page: Path, finished: Path, browser: Any) -> None:
    browser.open(page)
    run = RunData(finished)
    number = searched(run)
    browser.click(f'#planes [data-id="{number}"].dot')
    browser.wait("!document.getElementById('toast').hidden")
    copied = browser.clipboard()
    assert copied.startswith("python -m evomerge job=merge recipe=")
    assert copied.endswith(f"recipes/{number:03d}.yaml out=merged-{number:03d}")
    assert browser.js("document.getElementById('toast').textContent") == f"Copied: {copied}"


def test_the_keyboard_reaches_candidates(page: Path, browser: Any) -> None:
    browser.open(page)
    browser.js("document.querySelector('#planes .dot[tabindex=\"0\"]').focus()")
    first = browser.js("document.activeElement.dataset.id")
    browser.press("ArrowRight")
    second = browser.js("document.activeElement.dataset.id")
    assert first != second
    assert f"Candidate {second}" in browser.js("document.getElementById('candidate').textContent")
    browser.press("Enter")
    browser.wait("!document.getElementById('toast').hidden")
    assert f"merged-{int(second):03d}" in browser.clipboard() or f"materialize({second}" in browser.clipboard()
    assert browser.js("document.querySelectorAll('#planes .dot[tabindex=\"0\"]').length") == 3  # one stop a plane


def test_a_bound_fades_what_misses_it(page: Path, finished: Path, browser: Any) -> None:
    browser.open(page)
    browser.drag("#strands .grip", up=120)
    bound = float(browser.js("document.querySelector('#strands .grip').getAttribute('aria-valuenow')")) / 100
    run = RunData(finished)
    missing = {t.number for t in run.scored if t.scores["sql"].mean < bound - 0.001}
    assert 0 < len(missing) < len(run.scored)
    faded = browser.js("[...new Set([...document.querySelectorAll('#front .faded')].map(e => Number(e.dataset.id)))]")
    visible = browser.js("[...document.querySelectorAll('#strands .strand')].map(e => Number(e.dataset.id))")
    assert set(faded) == missing & set(visible)
    said = browser.js("document.getElementById('sifted').textContent")
    assert said.startswith("sql at least") and f"{len(run.scored) - len(missing)} of {len(run.scored)}" in said
    browser.click("#clear")
    assert browser.js("document.querySelectorAll('#front .faded').length") == 0
    browser.js("document.querySelectorAll('#strands .grip')[1].focus()")
    browser.press("ArrowUp")
    assert browser.js("document.getElementById('sifted').textContent").startswith("code at least")


def test_what_to_run_is_on_the_first_screen_and_can_be_copied(page: Path, browser: Any) -> None:
    browser.open(page, width=1200, height=800)
    assert browser.js("document.querySelector('.command:not(.closed)').getBoundingClientRect().bottom") < 800
    seen = []
    for place in range(browser.js("document.querySelectorAll('[role=tab]').length")):
        browser.click(f"#tab-{place}")
        browser.click(f"#panel-{place} button")
        browser.wait(f"document.querySelector('#panel-{place} button').textContent === '✓ Copied'")
        seen.append(browser.clipboard())
        assert seen[-1] == browser.js(f"document.querySelector('#panel-{place} pre').textContent")
    for expected in ("AutoModelForCausalLM", "AutoPeftModelForCausalLM", "vllm serve", "job=merge", "job=evaluate"):
        assert any(expected in text for text in seen)


MANY = ("sql", "code", "json", "law", "a_long_name_of_a_task_of_lm_eval", "six", "seven", "eight")


@pytest.mark.parametrize("tasks", [MANY[:1], MANY[:2], MANY[:4], MANY])
def test_any_number_of_tasks_is_drawn(
    tasks: tuple[str, ...], fabricate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, browser: Any
) -> None:
    for task in MANY[3:]:
        monkeypatch.setitem(fabricate.BEST, task, 0.5)
        monkeypatch.setitem(fabricate.BASE, task, 0.1)
    run = RunData(fabricate.fabricate(tmp_path / "run", budget=max(9, 6 + len(tasks)), tasks=tasks, failures=0))
    file = tmp_path / "report.html"
    file.write_text(render(payload(run)))
    for width in (1200, 360):
        browser.open(file, width=width)
        assert in_order(browser)
    count = len(tasks)
    planes = "document.querySelectorAll('#planes svg').length"
    assert browser.js(planes) == (max(1, count * (count - 1) // 2) if count <= 4 else 1)
    if count > 4:
        browser.js("document.querySelectorAll('#axes select')[2].value = '5'")
        browser.js("document.querySelectorAll('#axes select')[2].dispatchEvent(new Event('change'))")
        assert browser.js(planes) == 1
        assert browser.js("document.querySelector('#planes svg').getAttribute('aria-label')").endswith("sql and six")
        # a hypervolume of many objectives is small
        said = browser.js("[...document.querySelectorAll('#gain text.tick[text-anchor=end]')].map(e => e.textContent)")
        assert len(said) == len(set(said)) > 1
    assert browser.js("document.getElementById('strands').hidden") == (count < 3)


def test_an_interrupted_run_is_drawn(interrupted: Path, tmp_path: Path, browser: Any) -> None:
    file = tmp_path / "report.html"
    file.write_text(render(payload(RunData(interrupted))))
    browser.open(file, width=360)
    assert in_order(browser)
    assert browser.js("document.getElementById('headline').textContent") == "No winner yet"
    assert browser.js("document.getElementById('run-section').hidden")
