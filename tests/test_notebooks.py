"""Notebooks run from top to bottom, and their committed versions have outputs, are small and clean."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import yaml
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
# Another machine's paths, warnings, progress bars.
NOISE = re.compile(r"/(home|root|tmp|work|Users)/|[Ww]arning:|\d+%\|")


def outputs(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def figures(notebook: nbformat.NotebookNode) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_with_outputs(path: Path) -> None:
    assert path.stat().st_size < 500_000
    notebook = nbformat.read(path, as_version=4)
    assert figures(notebook) > 0, "no figure in it: run it and commit it"
    for output in outputs(notebook):
        assert output.output_type != "error" and output.get("name") != "stderr"
        texts = [output.get("text", ""), *(text for kind, text in output.get("data", {}).items() if "text" in kind)]
        assert not [text for text in texts if NOISE.search(text)]


@pytest.fixture(scope="module")
def execute(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``execute(stem, folder=None, **environment) -> Path``: run a notebook in small mode; where it was run."""

    def run(stem: str, folder: Path | None = None, **environment: str) -> Path:
        (path,) = [path for path in NOTEBOOKS if path.stem == stem]
        folder = folder or tmp_path_factory.mktemp(stem)
        notebook, committed = (nbformat.read(path, as_version=4) for _ in range(2))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**environment, "EVOMERGE_SMOKE": "1", "TMPDIR": str(folder)}.items():
                patch.setenv(name, value)
            NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
        assert figures(notebook) == figures(committed)
        return folder

    return run


@pytest.fixture(scope="module")
def first_run(execute: Callable[..., Path]) -> Path:
    """The folder in which the first notebook has made its run."""
    (run,) = execute("01_read_a_front").glob("*/outputs/front")
    return run.parents[1]


def test_read_a_front_runs(first_run: Path) -> None:
    assert (first_run / "outputs" / "front" / "best" / "recipe.yaml").is_file()


def test_merge_by_hand_runs(execute: Callable[..., Path], pico_model, pico_adapter, tmp_path: Path) -> None:
    experts = {name: str(pico_adapter(n)) for n, name in enumerate(("sql", "json"), start=1)}
    (tmp_path / "models.yaml").write_text(yaml.safe_dump({"base": str(pico_model()), "experts": experts}))
    folder = execute("02_merge_by_hand", MODELS=str(tmp_path / "models.yaml"))
    assert list(folder.glob("*/merged/model.safetensors"))


def test_what_makes_a_merge_good_runs(execute: Callable[..., Path], first_run: Path) -> None:
    written = [path for path in first_run.rglob("*") if path.is_file()]
    before = [path.stat().st_mtime_ns for path in written]
    execute("03_what_makes_a_merge_good", first_run, RUN="outputs/front")
    assert [path.stat().st_mtime_ns for path in written] == before
