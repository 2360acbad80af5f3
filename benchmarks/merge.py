"""Compare merging by evomerge with mergekit 0.1.5: same models, same file.

    python benchmarks/merge.py [--model 160m] [--threads 2] [--pairs 2] [--keep]

The script makes a base and three full fine-tunes of it with random bfloat16 weights in a temporary folder. It measures:

- TIES and linear, from disk to disk: wall time of both sides' whole commands, from start to exit, and peak resident
  memory (the kernel's ``VmHWM``, with mapped pages);
- a second candidate of a search: TIES with new weights and densities, in place on a model in memory, against the whole
  mergekit merge of the same recipe;
- linear against its input and output: time of the merge inside this process, divided by the time to read the bytes of
  the three inputs and to write those of the output to disk.

Runs of both sides alternate; results are medians. ``--keep`` writes benchmarks/results/merge.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from kept_results import keep
from random_llama import SIZES, random_weights, shapes_of, write_llama
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from evomerge.engine.live_model import LiveModel
from evomerge.engine.merger import Merger
from evomerge.mergekit import load
from evomerge.mergekit.plan import plan_merge
from evomerge.mergekit.write_model import write_plan
from evomerge.types import Expert, Recipe
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.task_vector import open_task_vector

NAMES = ("first", "second", "third")
CHANGE = 1e-3  # standard deviation of what fine-tuning changes


def make_models(size: str, folder: Path) -> None:
    """``base`` and three experts."""
    generator = torch.Generator().manual_seed(0)
    base = random_weights(size, generator)
    write_llama(folder / "base", size, base)
    for name in NAMES:
        changed = {
            key: (value.float() + CHANGE * torch.randn(value.shape, generator=generator)).bfloat16()
            for key, value in base.items()
        }
        write_llama(folder / name, size, changed)


def recipe(folder: Path, method: str, weights: tuple[float, ...], densities: tuple[float, ...] | None = None) -> Path:
    """A mergekit file, read by both sides."""
    models = []
    for number, name in enumerate(NAMES):
        parameters = {"weight": weights[number]} | ({"density": densities[number]} if densities else {})
        models.append({"model": str(folder / name), "parameters": parameters})
    content = {"merge_method": method, "models": models, "dtype": "bfloat16"}
    if method != "linear":
        content["base_model"] = str(folder / "base")
    path = folder / f"{method}-{'-'.join(map(str, (*weights, *(densities or ()))))}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def timed(command: list[str], threads: int) -> tuple[float, float]:
    """Seconds by the clock and highest resident memory in MB of a command."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    start = time.perf_counter()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        peak = 0.0
        # not ru_maxrss: a process starts with its parent's
        while process.poll() is None:
            peak = max(peak, high_water_mark(process.pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - start
        if process.returncode:
            errors.seek(0)
            raise SystemExit(f"{' '.join(command)}\n{errors.read().decode()[-3000:]}")
    return seconds, peak


def high_water_mark(process: int) -> float:
    """Highest resident memory of a process so far, mapped pages included, in MB."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:  # it has just ended
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def by_mergekit(path: Path, out: Path) -> list[str]:
    start = "import sys; from mergekit.scripts.run_yaml import main; main()"
    return [sys.executable, "-c", start, str(path), str(out), "--quiet"]


def by_evomerge(path: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "evomerge", "job=merge", f"recipe={path}", f"out={out}"]


def second_candidate(folder: Path, pairs: int) -> float:
    """Seconds of a TIES candidate with weights and densities of its own, after another was applied."""

    # a live model has a tokenizer, which merging never touches
    tokenizer = Tokenizer(models.WordLevel({"a": 0}, "a"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(folder / "base")
    base = Checkpoint(folder / "base")
    live = LiveModel(folder / "base")
    merger = Merger(base, {name: open_task_vector(base, str(folder / name)) for name in NAMES})
    seconds = []
    for number in range(pairs + 1):
        candidate = Recipe(
            str(folder / "base"),
            tuple(Expert(name, str(folder / name)) for name in NAMES),
            "ties",
            ((0.3 + 0.05 * number, 0.5, 0.7 - 0.03 * number),),
            expert_parameters={"density": (0.2 + 0.04 * number, 0.5 - 0.05 * number, 0.31 + 0.02 * number)},
        )
        start = time.perf_counter()
        live.apply(merger, candidate)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def linear_over_io(folder: Path, threads: int, pairs: int) -> float:
    """Seconds of a linear merge over those of reading its inputs and writing its output."""
    document = load(recipe(folder, "linear", (0.3, 0.5, 0.2)))[-1]

    def merge() -> None:
        write_plan(plan_merge(document, {}), folder / "linear-out", threads=threads)

    def copy() -> None:
        buffer = bytearray(1 << 24)
        for name in NAMES:
            with (folder / name / "model.safetensors").open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
        left = (folder / "base" / "model.safetensors").stat().st_size
        with (folder / "copied").open("wb", buffering=0) as file:
            while left > 0:
                left -= file.write(memoryview(buffer)[: min(left, len(buffer))])
            os.fsync(file.fileno())
        (folder / "copied").unlink()

    merge()
    copy()
    ratios = []
    for _ in range(pairs):
        ratios.append(seconds_of(merge) / seconds_of(copy))
    return statistics.median(ratios)


def seconds_of(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SIZES, default="160m")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/merge.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_models(given.model, folder)
        seconds: dict[tuple[str, str], list[float]] = {}
        memory: dict[tuple[str, str], float] = {}
        files = {
            "ties": recipe(folder, "ties", (0.3, 0.5, 0.7), (0.2, 0.5, 0.31)),
            "linear": recipe(folder, "linear", (0.3, 0.5, 0.2)),
        }
        for _ in range(given.pairs):
            for method, path in files.items():
                for who, command in (("mergekit", by_mergekit), ("evomerge", by_evomerge)):
                    taken, peak = timed(command(path, folder / f"{who}-{method}"), given.threads)
                    seconds.setdefault((method, who), []).append(taken)
                    memory[method, who] = max(peak, memory.get((method, who), 0.0))
                    print(f"{method} from disk to disk, {who}: {taken:.1f} s, {peak:.0f} MB", flush=True)
        second = second_candidate(folder, 5)
        print(f"second TIES candidate on a live model: {second:.2f} s", flush=True)
        over_io = linear_over_io(folder, given.threads, 3)
    ties = {who: statistics.median(seconds["ties", who]) for who in ("mergekit", "evomerge")}
    result = {
        "ties_disk_speedup": round(ties["mergekit"] / ties["evomerge"], 1),
        "ties_peak_memory_ratio": round(memory["ties", "evomerge"] / memory["ties", "mergekit"], 2),
        "second_candidate_speedup": round(ties["mergekit"] / second, 1),
        "linear_io_ratio": round(over_io, 2),
    }
    if given.keep:
        parameters = sum(torch.Size(shape).numel() for shape in shapes_of(given.model).values())
        about = {
            "threads": given.threads,
            "parameters": parameters,
            "seconds": {f"{method} {who}": sorted(values) for (method, who), values in seconds.items()},
            "peak_mb": {f"{method} {who}": round(value) for (method, who), value in memory.items()},
            "second_candidate_seconds": second,
        }
        keep("merge", result | about)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
