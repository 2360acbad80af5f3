"""A job is one file: its declaration appears in help, in settings and in errors."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, is_dataclass
from pathlib import Path

import pytest
from run_evomerge import ENVIRONMENT

from evomerge.command_line.schema import all_settings
from evomerge.errors import UserError
from evomerge.jobs.registry import JOBS, refuse_others
from evomerge.settings import from_mapping, setting_types

PLANTED = '''
"""Paint."""
from dataclasses import dataclass, field
from evomerge.jobs.registry import job
from evomerge.search.settings import SearchSettings

@dataclass(frozen=True)
class Settings:
    colour: str = "blue"
    search: SearchSettings = field(default_factory=SearchSettings)

@job("paint", Settings, "python -m evomerge job=paint [colour=red]      paint a wall")
def run(settings):
    print(settings.colour, settings.search.budget)
'''
WITH_FOLDER = """
import sys
import evomerge.jobs
from evomerge.command_line.main import command
evomerge.jobs.__path__.append(sys.argv.pop(1))
command()
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "python -m evomerge job=paint [colour=red]      paint a wall\n"),
        (["job=paint", "colour=a, b", "search.budget=3"], "a, b 3\n"),
        (["job=paint", "search=random"], "blue 40\n"),
        (["job=merge", "colour=red"], "evomerge: colour belongs to job=paint, got job=merge: leave it out\n"),
        (["job=paint", "name=x"], "evomerge: name belongs to job=search, got job=paint: leave it out\n"),
        (["job=merge", "search.budget=3"], "search.budget belongs to job=paint, job=search and job=space, got job="),
        (["job=paint", "color=red"], "evomerge: unknown setting 'color': did you mean 'colour'?"),
        (["job=pain"], "evomerge: unknown job 'pain': did you mean 'paint'? (known: evaluate, extract_lora, "),
        (["job=paint", "search.budget=0"], "evomerge: search.budget must be at least 1, got 0"),
        (["--cfg", "job", "job=paint"], "colour: blue\n"),
    ],
)
def test_a_planted_job(arguments: list[str], said: str, tmp_path: Path) -> None:
    (tmp_path / "paint.py").write_text(PLANTED)
    command = [sys.executable, "-c", WITH_FOLDER, str(tmp_path), *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert said in done.stdout + done.stderr
    assert done.returncode == (2 if said.startswith("evomerge:") or "belongs" in said else 0)
    assert not done.stderr or done.stderr.count("\n") == 1


def test_every_job_has_frozen_settings_and_usage() -> None:
    for name in JOBS:
        settings = JOBS[name].settings
        assert (settings.__dataclass_params__.frozen and f"job={name}" in JOBS[name].usage) or name == "search"
        for key, form in setting_types(settings).items():
            assert not is_dataclass(form) or form.__dataclass_params__.frozen, f"{name}: {key}"
            assert key in all_settings().__dataclass_fields__


def test_settings_of_other_jobs_are_refused_in_the_order_they_were_typed() -> None:
    refuse_others("search", ["search.budget", "tasks.sql.limit", "models"])
    with pytest.raises(UserError, match="ranks belongs to job=extract_lora, got job=search: leave it out"):
        refuse_others("search", ["ranks", "recipe"])


@dataclass(frozen=True)
class Example:
    size: int = 3
    share: float | None = 0.5
    names: tuple[str, ...] = ()
    sizes: list[int] | None = None
    on: bool = False


def test_a_mapping_becomes_settings_or_a_line_that_names_the_key() -> None:
    given = {"size": 4, "share": 1, "names": ("a",), "sizes": [1, 2], "on": True}
    assert from_mapping(Example, given, "x") == Example(4, 1.0, ("a",), [1, 2], True)
    assert from_mapping(Example, None, "x") == Example()
    assert from_mapping(Example, {"share": None}, "x").share is None
    for values, said in [
        ({"siz": 4}, r"unknown setting 'x\.siz': did you mean 'size'\?"),
        ({"size": "4"}, r"x\.size takes a whole number, got x\.size=4"),
        ({"size": True}, "takes a whole number"),
        ({"size": None}, "takes a whole number"),
        ({"sizes": [1, "b"]}, r"x\.sizes takes a list of whole numbers, got x\.sizes=\[1, 'b'\]"),
        ({"on": 1}, "takes true or false"),
    ]:
        with pytest.raises(UserError, match=said):
            from_mapping(Example, values, "x")
