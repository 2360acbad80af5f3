"""Extract an adapter of each rank, and score each as others would load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from evomerge.engine.export import export_lora
from evomerge.engine.extract.extract import extract
from evomerge.engine.extract.plan import ExtractOptions
from evomerge.errors import RunFailed
from evomerge.jobs.steps.extraction_origin import Origin, rank_name
from evomerge.jobs.steps.open_workers import ScoringSettings, open_pool, worker_spec
from evomerge.report.rank_curve import CurvePoint, curve_table, write_curve
from evomerge.types import Artifact, Pool, Recipe, Score, Work, scores_by_task


def rank_curve(
    settings: ScoringSettings, split: str, ranks: Sequence[int], origin: Origin, options: ExtractOptions, out: Path
) -> None:
    """Write ``out/rank-016`` ..., ``rank_curve.csv`` and ``rank_curve.png``, and print the table.

    A recipe whose merge stays in factors gets a second adapter of each rank, its experts compressed before the merge.
    """
    base = str(origin.base.folder.resolve())
    models = (origin.model.base, origin.model.experts) if isinstance(origin.model, Recipe) else (base, ())
    pool = open_pool(settings.cluster, worker_spec(settings, *models), works=len(settings.tasks))
    console = Console(highlight=False)

    def score(name: str, subject: Recipe | Artifact) -> Mapping[str, Score]:
        found = _scores(pool, name, subject, split, tuple(settings.tasks))
        console.print(f"{name}: {', '.join(f'{task} {one.mean:.3f}' for task, one in found.items())}")
        return found

    try:
        whole = score("model", _subject(origin, base))
        points = [CurvePoint(0, "", 0, 0.0, 1.0, score("base", Artifact(base)))]
        for rank in sorted(set(ranks)):
            points += [
                CurvePoint(rank, how, *about, score(folder.name, Artifact(base, str(folder))))
                for how, folder, about in _adapters(origin, replace(options, rank=rank), out)
            ]
        points.append(CurvePoint(None, "", 0, 0.0, 0.0, whole))
    finally:
        pool.close()
    write_curve(points, out)
    console.print(curve_table(points))
    print(f"written to {out}: rank_curve.csv, rank_curve.png and the adapters")


def _adapters(origin: Origin, options: ExtractOptions, out: Path) -> list[tuple[str, Path, tuple[int, float, float]]]:
    """What kind, where, and parameters, megabytes and relative error."""
    folder = (out / rank_name(options.rank)).resolve()
    done = extract(origin.deltas, folder, origin.base_name, options)
    found = [("truncated", folder, (done.parameters, _megabytes(folder), done.relative_error))]
    if _loses_rank(origin, options.rank):
        assert origin.merger is not None and isinstance(origin.model, Recipe)
        second = folder.with_name(f"{folder.name}-compressed")
        export = export_lora(origin.merger, origin.model, second, options.rank, options.dtype, compressed=True)
        found.append(("compressed", second, (done.parameters, _megabytes(second), export.relative_error)))
    return found


def _loses_rank(origin: Origin, rank: int | None) -> bool:
    """Whether there are experts to compress: a merge in factors that this rank is too small for."""
    if rank is None or origin.merger is None or not isinstance(origin.model, Recipe):
        return False
    if not origin.merger.is_low_rank(origin.model):
        return False
    return any(basis.u.shape[1] > rank for basis in origin.merger.core_space(origin.model).bases.values())


def _megabytes(folder: Path) -> float:
    return (folder / "adapter_model.safetensors").stat().st_size / 1e6


def _subject(origin: Origin, base: str) -> Recipe | Artifact:
    if isinstance(origin.model, Recipe):
        return origin.model
    folder = str(origin.model.resolve())
    return Artifact(base, folder) if (origin.model / "adapter_config.json").is_file() else Artifact(folder)


def _scores(pool: Pool, name: str, subject: Recipe | Artifact, split: str, tasks: Sequence[str]) -> Mapping[str, Score]:
    """A task is a unit of work, as in a search's final table, so that the same model gets the same numbers."""
    for task in tasks:
        pool.submit(Work(f"{name}:{task}", subject, split, (task,)))
    scores: dict[str, Score] = {}
    while len(scores) < len(tasks):
        for done in pool.wait():
            if done.error is not None:
                raise RunFailed(f"{name} could not be scored: {done.error}")
            scores |= scores_by_task(done.items)
    return {task: scores[task] for task in tasks}
