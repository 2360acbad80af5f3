"""Compare evaluation by evomerge with ``lm_eval --model hf``: same model, tasks, items and batch size.

    python benchmarks/evaluate.py [--tasks sql json python_basics] [--limit 64] [--batch 32] [--threads 1]
                                  [--dtype bfloat16] [--keep]

The model is a merge of the shipped experts, written to a temporary folder. Both sides use lm-eval's
``simple_evaluate`` and score with the same tasks, so that they differ only in the model's side. Runs of both sides
alternate, and the time includes generation and scoring, not loading. ``forward_share`` is the fraction of evomerge's
time in the model's forward passes. ``drafts_speedup`` is what evomerge gains by verifying known answers, here the
model's own, the most that they can save (benchmarks/drafts.py measures those of earlier candidates). ``--keep`` writes
benchmarks/results/evaluate.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from kept_results import keep
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from evomerge.engine.export import export_model
from evomerge.engine.merger import Merger
from evomerge.evaluation.lm_eval_adapter import BackendLM
from evomerge.inference.backend import GenerationRequest
from evomerge.inference.backends.hf import HFBackend
from evomerge.inference.deadline import Ended, Watch
from evomerge.jobs.steps.model_names import model_source
from evomerge.types import Artifact, Expert, KnownAnswer, Recipe
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.sources import resolve
from evomerge.weights.task_vector import open_task_vector

HERE = Path(__file__).resolve().parent
EXPERTS = tuple(Expert(name, f"evomerge:experts/{name}") for name in ("sql", "code", "json"))


def write_model(folder: Path) -> Path:
    """A model that answers all tasks, so that answers end where they should."""
    source = model_source("smollm2-135m")
    base = Checkpoint(resolve(source))
    merger = Merger(base, {expert.name: open_task_vector(base, expert.source) for expert in EXPERTS})
    return export_model(merger, Recipe(source, EXPERTS, "task_arithmetic", ((1.0, 0.7, 1.0),)), folder)


class Forward:
    """Seconds in the forward passes of a model."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.seconds = 0.0
        self._began = 0.0
        model.register_forward_pre_hook(self._begin)
        model.register_forward_hook(self._end)

    def _begin(self, *_: Any) -> None:
        self._began = time.perf_counter()

    def _end(self, *_: Any) -> None:
        self.seconds += time.perf_counter() - self._began


class Known:
    """A backend that knows the answers it gave before."""

    def __init__(self, backend: HFBackend) -> None:
        self._backend = backend
        self._answers: dict[str, KnownAnswer] = {}

    def generate(self, requests: Sequence[GenerationRequest]) -> list[str]:
        given = [replace(r, known=(self._answers[r.prompt],) if r.prompt in self._answers else ()) for r in requests]
        ended: dict[int, Ended] = {}
        answers = self._backend.generate(given, Watch(lambda one: ended.update({one.index: one})))
        for number, request in enumerate(requests):
            self._answers[request.prompt] = KnownAnswer(answers[number], ended[number].tokens, (0,))
        return answers


def evaluated(model: Any, tasks: list[str], limit: int, manager: TaskManager) -> tuple[float, dict[str, float], int]:
    """Seconds, the first metric of each task, and the number of items."""
    start = time.perf_counter()
    result = simple_evaluate(model=model, tasks=tasks, limit=limit, task_manager=manager, bootstrap_iters=0)
    seconds = time.perf_counter() - start
    scores = {
        task: next(value for key, value in result["results"][task].items() if isinstance(value, float))
        for task in tasks
    }
    return seconds, scores, sum(len(samples) for samples in result["samples"].values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=["sql", "json", "python_basics"])
    parser.add_argument("--limit", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--keep", action="store_true", help="write benchmarks/results/evaluate.json")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    manager = TaskManager(include_path=str(HERE.parent / "tasks"), include_defaults=False)
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_model(Path(temporary) / "model")
        peer = HFLM(pretrained=str(folder), dtype=given.dtype, batch_size=given.batch, device="cpu")
        backend = HFBackend(str(folder), dtype=given.dtype, batch_size=given.batch)
        backend.load(Artifact(str(folder)))
        forward = Forward(backend._current.model)  # the one thing the backend has no reason to show
        ratios, shares, rates, gains = [], [], [], []
        known = Known(backend)
        for pair in range(given.pairs):
            theirs, their_scores, items = evaluated(peer, given.tasks, given.limit, manager)
            forward.seconds = 0.0
            ours, our_scores, _ = evaluated(BackendLM(backend), given.tasks, given.limit, manager)
            share = forward.seconds / ours
            if pair == 0:
                evaluated(BackendLM(known), given.tasks, given.limit, manager)  # to know the answers
            drafted, _, _ = evaluated(BackendLM(known), given.tasks, given.limit, manager)
            ratios.append(theirs / ours)
            shares.append(share)
            gains.append(ours / drafted)
            seconds = {"lm_eval": theirs, "evomerge": ours, "evomerge_drafts": drafted}
            rates.append({name: round(items / value, 2) for name, value in seconds.items()})
            print(f"pair {pair}: items a second {rates[-1]}, scores {their_scores} and {our_scores}", flush=True)
    result = {
        "speedup_vs_lm_eval": round(statistics.median(ratios), 2),
        "drafts_speedup": round(statistics.median(gains), 2),
        "forward_share": round(statistics.median(shares), 3),
    }
    if given.keep:
        about = {
            "threads": given.threads,
            "batch": given.batch,
            "dtype": given.dtype,
            "tasks": given.tasks,
            "items_a_second": rates,
        }
        keep("evaluate", result | about)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
