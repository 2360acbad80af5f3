"""One adapter for each rank, each scored as a stranger would load it: what a rank is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from evomerge.config import Config
from evomerge.engine.export import export_lora
from evomerge.engine.extract.extract import extract
from evomerge.engine.extract.plan import ExtractOptions
from evomerge.errors import UserError
from evomerge.jobs.extract_lora import Origin, rank_name
from evomerge.jobs.steps.open_workers import open_pool, worker_spec
from evomerge.report.rank_curve import CurvePoint, curve_table, write_curve
from evomerge.types import Artefact, Pool, Recipe, Score, Work, scores_by_task


def rank_curve(config: Config, origin: Origin, options: ExtractOptions, out: Path) -> None:
    """Writes ``out/rank-016`` ..., ``rank_curve.csv`` and ``rank_curve.png``, and prints the table.

    A recipe whose merge stays in factors gets a second adapter of each rank, its experts compressed before the merge.
    """
    if options.energy is not None or options.parameters is not None:
        raise UserError("ranks=[...] sets every rank itself: leave out energy= and parameters=")
    base = str(origin.base.folder.resolve())
    whose = (origin.model.base, origin.model.experts) if isinstance(origin.model, Recipe) else (base, ())
    pool = open_pool(config, worker_spec(config, *whose), works=len(config.tasks))
    console = Console(highlight=False)
    try:
        whole = _score(config, pool, "model", _subject(origin, base), console)
        points = [CurvePoint(0, "", 0, 0.0, 1.0, _score(config, pool, "base", Artefact(base), console))]
        for rank in sorted(set(config.ranks)):
            points += [
                CurvePoint(rank, how, *about, _score(config, pool, folder.name, Artefact(base, str(folder)), console))
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


def _subject(origin: Origin, base: str) -> Recipe | Artefact:
    if isinstance(origin.model, Recipe):
        return origin.model
    folder = str(origin.model.resolve())
    return Artefact(base, folder) if (origin.model / "adapter_config.json").is_file() else Artefact(folder)


def _score(config: Config, pool: Pool, name: str, subject: Recipe | Artefact, console: Console) -> Mapping[str, Score]:
    """A task is a unit of work, as in a search's final table, so that the same model gets the same numbers."""
    for task in config.tasks:
        pool.submit(Work(f"{name}:{task}", subject, config.split, (task,)))
    scores: dict[str, Score] = {}
    while len(scores) < len(config.tasks):
        for done in pool.wait():
            if done.error is not None:
                raise RuntimeError(f"{name} could not be scored: {done.error}")
            scores |= scores_by_task(done.items)
    said = ", ".join(f"{task} {score.mean:.3f}" for task, score in scores.items())
    console.print(f"{name}: {said}")
    return {task: scores[task] for task in config.tasks}
