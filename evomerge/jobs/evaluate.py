"""Score a model, or a base with an adapter, on tasks."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from evomerge.config import Config
from evomerge.errors import UserError
from evomerge.evaluation.scorers.base import TRUSTED
from evomerge.files.small_files import write_text
from evomerge.jobs.steps.arguments import model_source, required
from evomerge.jobs.steps.open_workers import open_pool, worker_spec
from evomerge.types import Artefact, Done, Score, Work, scores_by_task
from evomerge.weights.adapters.adapter import Adapter
from evomerge.weights.adapters.updates import updates_on
from evomerge.weights.checkpoint import Checkpoint
from evomerge.weights.sources import resolve


def run(config: Config) -> None:
    """Prints score and 95 % interval of each task; ``out=FILE`` keeps them as JSON. A task that fails keeps no other's
    scores back.

    Each task is a unit of work, as when a search measures its winner, so the same model gets the same numbers, if each
    worker has as many threads: sums in another order may turn a token (``cluster.threads``).
    """
    source = model_source(required(config, "model")[0])
    folder = resolve(source)
    adapter = None if config.adapter is None else resolve(model_source(config.adapter))
    if adapter is not None:
        updates_on(Adapter(adapter), Checkpoint(folder))
    subject = Artefact(str(folder.resolve()), None if adapter is None else str(adapter.resolve()))
    spec = worker_spec(config, str(folder.resolve()), ())
    pool = open_pool(config, spec, works=len(config.tasks))
    try:
        for task in config.tasks:
            pool.submit(Work(task, subject, config.split, (task,)))
        finished: dict[str, Done] = {}
        while len(finished) < len(config.tasks):
            finished.update({done.key: done for done in pool.wait()})
    finally:
        pool.close()
    failed = [f"{done.key}: {done.error}" for done in finished.values() if done.error]
    scores = {task: scores_by_task(done.items)[task] for task in config.tasks if not (done := finished[task]).error}
    if scores:
        _print(config, spec.dtype, scores, finished)
    if config.out is not None and scores:
        write_text(Path(config.out), json.dumps({task: asdict(score) for task, score in scores.items()}, indent=2))
    if failed:
        raise UserError("could not be scored: " + "; ".join(failed))


def _print(config: Config, dtype: str, scores: dict[str, Score], finished: dict[str, Done]) -> None:
    model = f"{config.model} + {config.adapter}" if config.adapter else config.model
    table = Table(title=f"{model}, {config.split} items, computed in {dtype}")
    for column in ("task", "score", "95 % interval", "items", "seconds"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for task, score in scores.items():
        interval = f"{score.low:.3f} - {score.high:.3f}"
        table.add_row(task, f"{score.mean:.3f}", interval, str(score.items), f"{finished[task].seconds:.0f}")
    console = Console()
    console.print(table)
    for task, done in finished.items():
        if trusted := sum(item.metrics.get(TRUSTED, 0.0) > 0 for item in done.items):
            console.print(
                f"{task}: {trusted} of {len(done.items)} answers were judged in one process with their tests, which "
                "trusts them not to forge a verdict",
                highlight=False,
            )
    levels = sorted({done.isolation for done in finished.values() if done.isolation})
    if levels:
        console.print(f"answers were judged in a sandbox: {', '.join(levels)}", highlight=False)
