"""Error messages for impossible requests, and the start-up cost of the command line."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from run_evomerge import ENVIRONMENT, command, evomerge, heed_interrupts

from evomerge.merging.describe import methods_page
from evomerge.search.samplers import SAMPLERS

RECIPE = """\
base: base
method: ties
experts:
  - {name: sql, model: sql, weight: 1.0, density: 1.5}
"""

EXPERTS = [f"models.experts.{name}=adapter" for name in ("sql", "code", "json")]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tasks=[sqll]"], "unknown tasks 'sqll': did you mean 'sql'?"),
        (["search.budgett=3"], "unknown setting 'search.budgett': did you mean 'budget'?"),
        (["tasks.sql.limt=3"], "unknown setting 'tasks.sql.limt': did you mean 'limit'?"),
        (["search.budget=many"], "search.budget=many"),
        (["search.budget=0"], "search.budget must be at least 1, got 0"),
        (["search=gpp"], "unknown search 'gpp': did you mean 'gp'?"),
        (["+experiment=sql_code_jso"], "did you mean 'sql_code_json'?"),
        (["--foo"], "unknown option --foo"),
        (["job", "=", "merge"], "'job' is no setting: write KEY=VALUE"),
        (["job=report", "run=a=b, (c) $d"], "there is no run folder a=b, (c) $d"),
        (["job=serach"], "unknown job 'serach': did you mean 'search'?"),
        (["models=mistral-7b"], "models.experts.code has to be set"),
        (["models.base=no-such-folder", *EXPERTS], "no model 'no-such-folder'"),
        (["models.base=mine"], "a search needs experts: set models.experts"),
        (["models.base=mine", "models.experts.math=x", "tasks=[sql]"], "tasks.sql.expert names no expert, got 'sql'"),
        (["job=merge", "recipe=recipe.yaml"], "job=merge needs out=DIR, for example out=merged"),
        (["job=merge"], "job=merge needs recipe=FILE, for example recipe="),
        (["job=report"], "job=report needs run=DIR, for example run=outputs/default"),
        (["job=latency", "run=nix"], "there is no run folder nix"),
        (["outputs=recipe.yaml"], "recipe.yaml is a file: choose another outputs="),
        (["search.seed=-1"], "search.seed must be at least 0, got -1"),
        (["job=merge", "recipe=recipe.yaml", "out=merged", "seed=-1"], "seed must be at least 0, got -1"),
        (["recipe=recipe.yaml"], "recipe belongs to job=extract_lora and job=merge, got job=search: leave it out"),
        (["job=merge", "search.budget=3"], "search.budget belongs to job=search and job=space, got job=merge: leave"),
        (["job=methods", "model=x"], "model belongs to job=evaluate, job=extract_lora and job=latency, got"),
        (["job=merge", "recipe=recipe.yaml", "out=merged"], "density must be in (0, 1], got 1.5"),
        (["job=merge", "recipe=nowhere.yaml", "out=merged"], "nowhere.yaml"),
        (["job=report", "run=nowhere"], "nowhere"),
        (["job=report", "run=runs/A,runs/B"], "several runs are a list, run=[runs/A,runs/B]"),
        (["job=evaluate"], "job=evaluate needs model=DIR, for example model="),
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
    models = (f"models.base={pico_model()}", "models.experts.sql=adapters/sql")
    result = evomerge(*models, "tasks=[sql]", "cluster=serial", folder=tmp_path)
    assert result.returncode == 2
    assert "adapters/sql" in result.stderr and "Traceback" not in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_lists_jobs_and_choices(arguments: list[str], tmp_path: Path) -> None:
    result = evomerge(*arguments, folder=tmp_path)
    assert result.returncode == 0
    for word in ("job=merge", "job=evaluate", "experiment: clash, sql_code_json", f"search: {', '.join(SAMPLERS)}"):
        assert word in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_version(tmp_path: Path) -> None:
    result = evomerge("--version", folder=tmp_path)
    assert (result.returncode, result.stdout) == (0, f"evomerge {version('evomerge')}\n")


def test_experiments_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "first.yaml").write_text("# @package _global_\nsearch: {budget: 7}\nrank: 3\n")
    chosen = ("--config-dir", "mine", "+experiment=first")
    result = evomerge(*chosen, "--cfg", "job", "--package", "search", folder=tmp_path)
    assert result.returncode == 0 and "budget: 7" in result.stdout, result.stderr
    assert evomerge(*chosen, "job=methods", folder=tmp_path).returncode == 0, "a job may leave settings unread"


def test_several_runs_leave_their_note_in_outputs(tmp_path: Path) -> None:
    result = evomerge("-m", "job=methods", "write=null,null", "outputs=runs", folder=tmp_path)
    assert result.returncode == 0 and result.stdout.count("core_tsv") == 2, result.stderr
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["multirun.yaml"]
    assert (tmp_path / "runs" / "multirun.yaml").is_file()


def test_ctrl_c_ends_all_of_several_runs(tmp_path: Path) -> None:
    """The first table does not fit into the pipe, so that the process waits inside the first run."""
    several = command("-m", "job=methods", "write=null,null")
    with subprocess.Popen(
        several,
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=heed_interrupts,
    ) as run:
        assert run.stdout is not None
        fcntl.fcntl(run.stdout, fcntl.F_SETPIPE_SZ, 4096)
        run.stdout.read(1)
        run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=60)
    assert run.returncode == 130 and b"interrupted" in err
    assert out.count(b"core_tsv") <= 1


HEAVY = {
    "torch", "ray", "optuna", "pandas", "pyarrow", "scipy", "matplotlib", "transformers", "peft", "datasets", "lm_eval",
    "huggingface_hub", "sympy", "filelock", "evomerge.merging",
}  # fmt: skip
MODULES_AFTER = """
import contextlib, io, runpy, sys
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
    runpy.run_module("evomerge", run_name="__main__")
print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (["--help"], set()),
        (["job=methods"], {"torch", "evomerge.merging"}),
        (["job=merge", "recipe=merge.yaml", "out=merged"], {"torch", "evomerge.merging"}),
        (["job=extract_lora", "base=base", "model=tuned", "out=lora", "rank=2"], {"torch"}),
        (["job=extract_lora", "recipe=merge.yaml", "out=lora", "rank=2"], {"torch", "evomerge.merging"}),
    ],
)
def test_a_job_loads_what_it_needs(arguments: list[str], needed: set[str], tmp_path: Path, pico_model) -> None:
    base, tuned = pico_model(), pico_model(seed=0, dtype="float32")
    (tmp_path / "base").symlink_to(base)
    (tmp_path / "tuned").symlink_to(tuned)
    (tmp_path / "merge.yaml").write_text(
        f"base: {base}\nmethod: task_arithmetic\nexperts:\n  - {{name: one, model: {tuned}, weight: 0.5}}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", MODULES_AFTER, *arguments], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.stderr == ""
    assert HEAVY.intersection(done.stdout.split()) == needed


def test_the_report_needs_neither_workers_nor_models(tmp_path: Path) -> None:
    command_line = [sys.executable, "-c", MODULES_AFTER, "job=report", "run=nowhere"]
    done = subprocess.run(command_line, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "nowhere" in done.stderr
    assert not {"ray", "transformers", "peft", "datasets", "lm_eval"}.intersection(done.stdout.split())


def test_methods_are_listed(tmp_path: Path) -> None:
    result = evomerge("job=methods", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "ties" in result.stdout and "core_tsv" in result.stdout


def test_methods_are_written_as_the_page_of_documentation(tmp_path: Path) -> None:
    result = evomerge("job=methods", "write=docs/methods.md", folder=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert (tmp_path / "docs" / "methods.md").read_text() == methods_page()


LEAVING = """
import atexit, sys, threading, time
from evomerge.__main__ import command
from evomerge.jobs.registry import JOBS, Job

def slow():
    time.sleep(0.3)
    print("thread ended")

def run(settings):
    threading.Thread(target=slow).start()
    atexit.register(print, "cleaned up", end="")
    print("job done")

JOBS["methods"]
JOBS._items["methods"] = Job(JOBS["methods"].settings, "", run)
sys.argv = ["evomerge", "job=methods"]
command()
"""


def test_a_command_leaves_after_its_threads_and_what_jobs_clean_up(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVING], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "job done\nthread ended\ncleaned up"
