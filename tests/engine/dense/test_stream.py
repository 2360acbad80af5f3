"""Merges of raw weights in blocks: memory, errors, and files after a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from evomerge.engine.dense.merge_tensor import CopiedTensor, whole
from evomerge.engine.dense.stream import stream
from evomerge.errors import UserError
from evomerge.jobs.steps.merge_models import merge_documents
from evomerge.mergekit import load
from evomerge.weights.checkpoint import Checkpoint, Stored


def raw_models(folder: Path, count: int, shape: tuple[int, ...], **more: torch.Tensor) -> list[Path]:
    paths = []
    for number in range(count):
        generator = torch.Generator().manual_seed(number)
        weight = torch.randn(shape, generator=generator).bfloat16()
        paths.append(folder / f"model{number}.safetensors")
        save_file({"weight": weight, **more}, paths[-1])
    return paths


def merge_file(folder: Path, method: str, models: list[Path], **more) -> Path:
    entries = [{"model": str(path), "parameters": {"weight": 0.5, "density": 0.4}} for path in models]
    if method == "linear":
        entries = [{"model": str(path), "parameters": {"weight": 0.5}} for path in models]
    path = folder / "merge.yaml"
    path.write_text(yaml.safe_dump({"merge_method": method, "models": entries, "dtype": "bfloat16", **more}))
    return path


def test_raw_weights_merge_into_a_raw_file(tmp_path):
    steps = torch.tensor([3], dtype=torch.int64)
    models = raw_models(tmp_path, 2, (300, 500), steps=steps)
    merge_documents(load(merge_file(tmp_path, "linear", models)), tmp_path / "out.safetensors", 0)
    merged, (first, second) = load_file(tmp_path / "out.safetensors"), [load_file(path) for path in models]
    assert torch.equal(merged["weight"], ((first["weight"].float() + second["weight"].float()) / 2).bfloat16())
    assert torch.equal(merged["steps"], steps)
    with pytest.raises(UserError, match=r"raw weights are written to a file: out=NAME\.safetensors"):
        merge_documents(load(merge_file(tmp_path, "linear", models)), tmp_path / "folder", 0)


@pytest.mark.parametrize("method", ["linear", "ties"])
def test_fp8_weights_merge_as_the_numbers_they_are(tmp_path, method):
    """Plain fp8, without scales, beside another dtype: torch itself adds and promotes no fp8."""
    base, *models = raw_models(tmp_path, 3, (30, 40))
    for path in (base, models[1]):
        save_file({"w": load_file(path)["weight"].to(torch.float8_e4m3fn)}, path)
    save_file({"w": load_file(models[0])["weight"]}, models[0])
    more = {"base_model": str(base)} if method == "ties" else {}
    merge_documents(load(merge_file(tmp_path, method, models, **more)), tmp_path / "out.safetensors", 0)
    wide = {path: load_file(path)["w"].float() for path in (base, *models)}
    for path, tensor in wide.items():
        save_file({"w": tensor}, path)
    merge_documents(load(merge_file(tmp_path, method, models, **more)), tmp_path / "wide.safetensors", 0)
    found, wanted = (load_file(tmp_path / f"{name}.safetensors")["w"] for name in ("out", "wide"))
    assert found.dtype == torch.bfloat16 and torch.equal(found, wanted)


def test_integers_that_differ_and_shapes_that_differ_are_named(tmp_path):
    models = raw_models(tmp_path, 1, (4, 4), steps=torch.tensor([1]))
    (tmp_path / "b").mkdir()
    models += raw_models(tmp_path / "b", 1, (4, 4), steps=torch.tensor([2]))
    with pytest.raises(UserError, match=r"'steps' holds torch\.int64 values that differ between the models"):
        merge_documents(load(merge_file(tmp_path, "linear", models)), tmp_path / "out.safetensors", 0)
    save_file({"weight": torch.zeros(4, 5), "steps": torch.tensor([1])}, models[1])
    with pytest.raises(UserError, match=r"'weight' has shape \[4, 5\] in .* and \[4, 4\] in "):
        merge_documents(load(merge_file(tmp_path, "linear", models)), tmp_path / "out.safetensors", 0)
    save_file({"other": torch.zeros(4, 4)}, models[1])
    with pytest.raises(UserError, match="has no tensor"):
        merge_documents(load(merge_file(tmp_path, "linear", models)), tmp_path / "out.safetensors", 0)
    assert not list(tmp_path.glob("*out*"))


MEASURED = """
import sys, threading, time
from pathlib import Path
from evomerge.jobs.steps.merge_models import merge_documents
from evomerge.mergekit import load

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))

documents = load(sys.argv[1])
before = highest = anonymous()
def watch():
    global highest
    while True:
        highest = max(highest, anonymous())
        time.sleep(0.005)
threading.Thread(target=watch, daemon=True).start()
merge_documents(documents, Path(sys.argv[2]), 0)
print(highest - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the memory from")
@pytest.mark.parametrize("method", ["ties", "karcher"])
def test_memory_does_not_grow_with_the_number_of_experts(method, tmp_path):
    """Beyond mapped files a merge may take 4 x its largest tensor in float32; eight experts stacked would take 9 x."""
    entries = 4000 * 2000
    base, *models = raw_models(tmp_path, 9, (4000, 2000))
    more = {"base_model": str(base)} if method == "ties" else {}
    path = merge_file(tmp_path, "ties" if method == "ties" else "linear", models, **more)
    path.write_text(path.read_text().replace("merge_method: linear", f"merge_method: {method}"))
    if method == "karcher":
        text = yaml.safe_load(path.read_text())
        text["models"] = [{"model": entry["model"]} for entry in text["models"]]
        path.write_text(yaml.safe_dump(text))
    command = [sys.executable, "-c", MEASURED, str(path), str(tmp_path / "out.safetensors")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) * 1024 < 4 * 4 * entries


def test_a_killed_merge_leaves_nothing_that_looks_complete(tmp_path):
    base, *models = raw_models(tmp_path, 4, (6000, 2000))
    path = merge_file(tmp_path, "ties", models, base_model=str(base))
    out = tmp_path / "out.safetensors"
    command = [sys.executable, "-m", "evomerge", "job=merge", f"recipe={path}", f"out={out}"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (partial := [p for p in tmp_path.glob(".out.*.partial") if p.is_file()]) and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert partial and not out.exists()
    with pytest.raises(UserError):
        Checkpoint(partial[0].rename(tmp_path / "found.safetensors"))
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    assert set(load_file(out)) == {"weight"} and not list(tmp_path.glob(".out*"))


class _Broken:
    shape, dtype = (10, 10), torch.float32

    def rows(self, start: int, stop: int) -> torch.Tensor:
        raise UserError("cannot read")


def test_the_first_error_stops_all_threads(tmp_path):
    (path,) = raw_models(tmp_path, 1, (100, 100))
    good = CopiedTensor("good", Stored(Checkpoint(path), "weight"), torch.float32)
    threads = torch.get_num_threads()
    with pytest.raises(UserError, match="cannot read"):
        stream([good, CopiedTensor("bad", _Broken(), torch.float32)], lambda *block: None, threads=2)
    assert torch.get_num_threads() == threads
    assert torch.equal(whole(good), load_file(path)["weight"].float())


def test_an_error_ends_the_merge_while_others_wait_their_turn(tmp_path):
    (path,) = raw_models(tmp_path, 1, (2, 2))
    small = CopiedTensor("small", Stored(Checkpoint(path), "weight"), torch.float32)
    caught: list[Exception] = []

    def merge() -> None:
        try:
            stream([CopiedTensor("bad", _Broken(), torch.float32), *[small] * 5000], lambda *block: None, threads=2)
        except UserError as error:
            caught.append(error)

    thread = threading.Thread(target=merge, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and str(caught[0]) == "cannot read"
