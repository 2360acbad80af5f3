"""``job=evaluate``: score a model, or a base with an adapter, on tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evomerge.cluster.settings import ClusterSettings
from evomerge.errors import UserError
from evomerge.evaluation.judging.sandbox import SandboxSettings
from evomerge.inference.backend_settings import BackendSettings
from evomerge.jobs.checked_tasks import checked_tasks
from evomerge.jobs.registry import job, needed
from evomerge.settings import check_choice
from evomerge.types import SPLITS

if TYPE_CHECKING:
    from evomerge.types import Done, KnownAnswers, Score


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        model: name of the model to score.
        adapter: name of a LoRA adapter on it.
        split: which items of the tasks.
        out: JSON file for the scores.

    Raises:
        UserError: no model, or an unknown split.
    """

    model: str | None = None
    adapter: str | None = None
    out: str | None = None
    split: str = "test"
    tasks: dict[str, Any] = field(default_factory=dict)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    backend: BackendSettings = field(default_factory=BackendSettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)

    def __post_init__(self) -> None:
        needed(self.model, "job=evaluate needs model=DIR, for example model=outputs/default/best/model")
        check_choice("split", self.split, SPLITS)
        object.__setattr__(self, "tasks", checked_tasks(self.tasks))


@job(
    "evaluate",
    Settings,
    "python -m evomerge job=evaluate model=DIR [adapter=DIR] tasks=[sql,json] [split=test]",
)
def run(settings: Settings) -> None:
    """Print score and 95 % interval of each task; ``out=FILE`` keeps them as JSON. When a task fails, the scores of the
    others are still printed.

    Each task is a unit of work, as when a search measures its winner. The same model gets the same numbers up to
    rounding: sums in another order may turn a token (``cluster.threads``). Answers that the model's own run has on
    record are verified, not generated anew.
    """
    # late: torch, the tasks and the pool
    from evomerge.files.small_files import write_text
    from evomerge.jobs.steps.model_names import model_source
    from evomerge.jobs.steps.open_workers import open_pool, worker_spec
    from evomerge.types import Artifact, Work, scores_by_task
    from evomerge.weights.adapters.adapter import Adapter
    from evomerge.weights.adapters.updates import updates_on
    from evomerge.weights.checkpoint import Checkpoint
    from evomerge.weights.sources import resolve

    folder = resolve(model_source(str(settings.model)))
    adapter = None if settings.adapter is None else resolve(model_source(settings.adapter))
    if adapter is not None:
        updates_on(Adapter(adapter), Checkpoint(folder))
    subject = Artifact(str(folder.resolve()), None if adapter is None else str(adapter.resolve()))
    spec = worker_spec(settings, str(folder.resolve()), ())
    known = _known_answers(adapter or folder, settings)
    pool = open_pool(settings.cluster, spec, works=len(settings.tasks))
    try:
        for task in settings.tasks:
            pool.submit(Work(task, subject, settings.split, (task,), known=known))
        finished: dict[str, Done] = {}
        while len(finished) < len(settings.tasks):
            finished.update({done.key: done for done in pool.wait()})
    finally:
        pool.close()
    failed = [f"{done.key}: {done.error}" for done in finished.values() if done.error]
    scores = {task: scores_by_task(done.items)[task] for task in settings.tasks if not (done := finished[task]).error}
    if scores:
        _print(settings, spec.dtype, scores, finished)
    if settings.out is not None and scores:
        write_text(Path(settings.out), json.dumps({task: asdict(score) for task, score in scores.items()}, indent=2))
    if failed:
        raise UserError("could not be scored: " + "; ".join(failed))


def _known_answers(folder: Path, settings: Settings) -> KnownAnswers:
    """Answers on record in the run folder that holds the model, as RUN/best/model; their verdicts may be of other
    settings."""
    from evomerge.search.evaluations import Evaluations
    from evomerge.search.known_answers import AnswerIndex

    index = AnswerIndex(verdicts=False)
    models: dict[str, int] = {}
    for key, _, items in Evaluations(folder.resolve().parent.parent / "evaluations.jsonl").of_split(settings.split):
        index.add(models.setdefault(key, len(models)), items)
    return index.known(tuple(settings.tasks))


def _print(settings: Settings, dtype: str, scores: Mapping[str, Score], finished: Mapping[str, Done]) -> None:
    from rich.console import Console
    from rich.table import Table

    from evomerge.evaluation.scorers.base import TRUSTED

    model = f"{settings.model} + {settings.adapter}" if settings.adapter else settings.model
    table = Table(title=f"{model}, {settings.split} items, computed in {dtype}")
    for column in ("task", "score", "95 % interval", "items", "seconds"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for task, score in scores.items():
        interval = f"{score.low:.3f} - {score.high:.3f}"
        table.add_row(task, f"{score.mean:.3f}", interval, str(score.items), f"{finished[task].seconds:.0f}")
    console = Console()
    console.print(table)
    levels = sorted({done.isolation for done in finished.values() if done.isolation})
    if levels:
        console.print(f"answers were judged in a sandbox: {', '.join(levels)}", highlight=False)
    for task, done in finished.items():
        if trusted := sum(item.metrics.get(TRUSTED, 0.0) > 0 for item in done.items):
            console.print(
                f"{task}: {trusted} of {len(done.items)} answers were judged in one process with their tests, which "
                "trusts them not to forge a verdict",
                highlight=False,
            )
