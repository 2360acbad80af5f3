"""Outputs appear whole or not at all: many writers, kills, full disks, links, and the overwrite guard."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from evomerge.errors import UserError
from evomerge.files.atomic_output import appearing_file, appearing_folder, passing_folder
from evomerge.files.small_files import write_text
from evomerge.files.swap_paths import exchange

EMPTY = (2).to_bytes(8, "little") + b"{}"  # a file of weights without any


def write(folder: Path, content: str) -> None:
    """A folder of two files that say the same."""
    with appearing_folder(folder) as work:
        (work / "config.json").write_text(content)
        (work / "other.json").write_text(content)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != ".evomerge"}


WRITERS = """
import sys, threading
from pathlib import Path
from evomerge.files.atomic_output import appearing_file, appearing_folder

def work(thread):
    for number in range(int(sys.argv[2])):
        with appearing_folder(root / "model") as folder:
            for name in ("config.json", "other.json"):
                (folder / name).write_text(f"{sys.argv[1]} {thread} {number}")
        with appearing_file(root / "raw.safetensors") as file:
            file.write_bytes((2).to_bytes(8, "little") + b"{}")

root = Path(sys.argv[3])
failed = []
threading.excepthook = lambda event: failed.append(event.exc_value)
threads = [threading.Thread(target=work, args=(thread,)) for thread in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(repr(failed[0]) if failed else 0)
"""


def writer(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITERS, *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_many_writers_of_one_output_all_come_to_their_end_and_a_reader_always_finds_one(tmp_path):
    write(tmp_path / "model", "first")
    processes = [writer(number, 25, tmp_path) for number in range(3)]
    torn = missing = 0
    folder = os.open(tmp_path, os.O_RDONLY)
    while any(process.poll() is None for process in processes):
        try:
            inside = os.open("model", os.O_RDONLY, dir_fd=folder)
        except FileNotFoundError:
            missing += 1
            continue
        try:  # both files of one and the same folder, unless it is being removed already
            texts = []
            for name in ("config.json", "other.json"):
                file = os.open(name, os.O_RDONLY, dir_fd=inside)
                texts.append(os.read(file, 100))
                os.close(file)
            torn += texts[0] != texts[1]
        except FileNotFoundError:
            pass
        finally:
            os.close(inside)
    os.close(folder)
    assert [process.communicate()[1] for process in processes] == ["", "", ""]
    assert torn == 0
    assert missing == 0 or not swaps(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "raw.safetensors"]
    assert len(set(contents(tmp_path / "model").values())) == 1


def swaps(folder: Path) -> bool:
    """Whether the file system under ``folder`` can exchange two names."""
    one, other = folder / "one", folder / "other"
    one.mkdir()
    other.mkdir()
    done = exchange(one, other)
    one.rmdir()
    other.rmdir()
    return done


def test_a_writer_killed_at_any_moment_leaves_a_whole_output_and_the_next_one_clears_up(tmp_path):
    write(tmp_path / "model", "first")
    moments = random.Random(0)
    for number in range(4):
        process = writer(number, 100_000, tmp_path)
        while contents(tmp_path / "model")["config.json"] == "first":
            assert process.poll() is None
            time.sleep(0.001)
        time.sleep(moments.random() / 10)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if swaps(tmp_path):
            assert len(set(contents(tmp_path / "model").values())) == 1
        write(tmp_path / "model", "first")
        with appearing_file(tmp_path / "raw.safetensors") as file:
            file.write_bytes(EMPTY)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "raw.safetensors"]


def test_two_names_change_places(tmp_path):
    write(tmp_path / "one", "1")
    (tmp_path / "other").mkdir()
    assert exchange(tmp_path / "one", tmp_path / "other") == bool(contents(tmp_path / "other"))
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "one", tmp_path / "none")


def project(folder: Path) -> None:
    """Somebody's work that has a config.json, too."""
    (folder / "src").mkdir(parents=True)
    (folder / "config.json").write_text("{}")


def repository(folder: Path) -> None:
    """An output that was put under version control since."""
    write(folder, "x")
    (folder / ".git").mkdir()


def annotated(folder: Path) -> None:
    """An output beside which somebody noted something."""
    write(folder, "x")
    (folder / "notes.txt").write_text("")


def downloaded(folder: Path) -> None:
    """A model that somebody else made."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(EMPTY)


@pytest.mark.parametrize("make", [project, repository, annotated, downloaded])
def test_only_a_former_output_is_replaced(tmp_path, make):
    make(tmp_path / "model")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"model: it holds other things than a model .*; give a new folder"):
        write(tmp_path / "model", "new")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_former_output_is_replaced_with_its_card(tmp_path):
    write(tmp_path / "model", "old")
    write_text(tmp_path / "model" / "README.md", "card")
    write(tmp_path / "model", "new")
    assert contents(tmp_path / "model") == {"config.json": "new", "other.json": "new"}


def test_what_came_there_while_the_output_was_made_is_not_replaced(tmp_path):
    with pytest.raises(UserError, match="it holds other things"), appearing_folder(tmp_path / "model") as work:
        (work / "config.json").write_text("")
        (tmp_path / "model" / "src").mkdir(parents=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["src"]


def test_a_file_that_holds_no_weights_is_not_replaced(tmp_path):
    file = tmp_path / "thesis.safetensors"
    file.write_text("years of work")
    with pytest.raises(UserError, match=r"thesis.safetensors: it is no file of weights"), appearing_file(file):
        raise AssertionError("it was not refused")
    assert file.read_text() == "years of work"
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.safetensors"]


def test_a_link_goes_on_pointing_to_what_is_written(tmp_path):
    write(tmp_path / "disk" / "model", "old")
    (tmp_path / "disk" / "raw.safetensors").write_bytes(EMPTY)
    for name in ("model", "raw.safetensors", "new"):
        (tmp_path / name).symlink_to(Path("disk") / name)
    write(tmp_path / "model", "new")
    write(tmp_path / "new", "new")
    with appearing_file(tmp_path / "raw.safetensors") as file:
        file.write_bytes(EMPTY + b" ")
    assert all((tmp_path / name).is_symlink() for name in ("model", "raw.safetensors", "new"))
    assert contents(tmp_path / "disk" / "model")["config.json"] == "new"
    assert contents(tmp_path / "disk" / "new")["config.json"] == "new"
    assert (tmp_path / "disk" / "raw.safetensors").read_bytes() == EMPTY + b" "
    (tmp_path / "text").symlink_to(tmp_path / "disk" / "text")
    write_text(tmp_path / "text", "x")
    assert (tmp_path / "text").is_symlink() and (tmp_path / "disk" / "text").read_text() == "x"
    (tmp_path / "round").symlink_to(tmp_path / "round")
    with pytest.raises(UserError, match=r"cannot write .*round"):
        write(tmp_path / "round", "x")
    write_text(tmp_path / "round", "x")  # a link to nothing at all is no loss
    assert (tmp_path / "round").read_text() == "x"


def test_names_as_long_as_the_file_system_takes(tmp_path):
    for name in ("n" * 255, "é" * 127):
        for _ in range(2):
            write(tmp_path / name, "x")
        assert contents(tmp_path / name)["config.json"] == "x"
    with pytest.raises(UserError, match=r"cannot write .*\(File name too long\)"):
        write(tmp_path / ("n" * 256), "x")


def test_the_folder_one_is_in_stays(tmp_path, monkeypatch):
    write(tmp_path / "model", "old")
    monkeypatch.chdir(tmp_path / "model")
    for name in (".", "", "../model/"):
        with pytest.raises(UserError, match=r"model: it is the folder you are in; give a new folder"):
            write(Path(name), "new")
    with pytest.raises(UserError, match=r"it holds other things"):
        write(Path(".."), "new")
    with pytest.raises(UserError, match=r"cannot write to /: it holds other things"):
        write(Path("/"), "new")
    assert contents(Path())["config.json"] == "old"


LIMITED = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from evomerge.errors import UserError
from evomerge.files.atomic_output import appearing_file, appearing_folder
from evomerge.files.small_files import write_text
target = Path(sys.argv[1])
try:
    if target.suffix == ".txt":
        write_text(target, "x" * 2000)
    with (appearing_file if target.suffix else appearing_folder)(target) as work:
        (work if target.suffix else work / "config.json").write_bytes(bytes(2000))
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize("name", ["model", "raw.safetensors", "text.txt"])
def test_a_full_disk_is_one_line_and_the_former_output_stays(tmp_path, name):
    write(tmp_path / "model", "old")
    (tmp_path / "raw.safetensors").write_bytes(EMPTY)
    (tmp_path / "text.txt").write_text("old")
    before = {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")}
    command = [sys.executable, "-c", LIMITED, str(tmp_path / name)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    wanted = f"cannot write {tmp_path / name} (File too large): free some space or write elsewhere\n"
    assert result.stdout == wanted
    assert {path: path.is_file() and path.read_bytes() for path in tmp_path.rglob("*")} == before


def test_a_passing_folder_needs_no_free_name(tmp_path):
    (tmp_path / "model-steps" / "src").mkdir(parents=True)
    with passing_folder(tmp_path / "model") as work:
        write(work / "step", "an output that only the next step reads")
    assert [path.name for path in tmp_path.iterdir()] == ["model-steps"]


def test_threads_that_write_one_text_do_not_meet(tmp_path):
    def work() -> None:
        for _ in range(200):
            write_text(tmp_path / "text", "x" * 1000)

    failed: list[object] = []
    threads = [threading.Thread(target=lambda: failed.append(work())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [None] * 4
    assert [path.name for path in tmp_path.iterdir()] == ["text"] and (tmp_path / "text").read_text() == "x" * 1000
