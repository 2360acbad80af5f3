"""Write ``trials.parquet`` and ``items.parquet`` from the store."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from evomerge.search.runaway import cut_off
from evomerge.search.store import Store
from evomerge.types import Trial


def trials_table(trials: Sequence[Trial]) -> pd.DataFrame:
    """A row per trial: number, label, method, fingerprint, error, stopped (by racing: its scores are of part of the
    items), seconds, cut (answers that its allowance ended), isolation, ``score.TASK`` with ``.low`` and ``.high`` (95 %
    interval) and ``.items``, ``param.NAME``."""
    rows = []
    for trial in trials:
        row: dict[str, object] = {
            "number": trial.number,
            "label": trial.label,
            "method": trial.recipe.method,
            "fingerprint": trial.recipe.fingerprint,
            "error": trial.error,
            "stopped": trial.stopped,
            "seconds": trial.seconds,
            "cut": cut_off(trial),
            "isolation": trial.isolation,
        }
        for task, score in trial.scores.items():
            row[f"score.{task}"] = score.mean
            row[f"score.{task}.low"], row[f"score.{task}.high"] = score.low, score.high
            row[f"score.{task}.items"] = score.items
        row.update({f"param.{name}": value for name, value in trial.params.items()})
        rows.append(row)
    return pd.DataFrame(rows)


def items_table(trials: Sequence[Trial]) -> pd.DataFrame:
    """A row per trial and item: number, task, item, outcome, answer, ``metric.NAME``."""
    rows = [
        {
            "number": trial.number,
            "task": item.task,
            "item": item.item,
            "outcome": item.outcome,
            "answer": item.answer,
            **{f"metric.{name}": value for name, value in item.metrics.items()},
        }
        for trial in trials
        for item in trial.items
    ]
    return pd.DataFrame(rows, columns=None if rows else ["number", "task", "item", "outcome", "answer"])


def write_tables(run_dir: Path | str) -> None:
    """Write both tables into the run folder, each atomically."""
    folder = Path(run_dir)
    trials = Store(folder).trials()
    for name, table in (("trials", trials_table(trials)), ("items", items_table(trials))):
        temporary = folder / f".{name}.parquet.{os.getpid()}"
        try:
            table.to_parquet(temporary, index=False)
            os.replace(temporary, folder / f"{name}.parquet")
        finally:
            temporary.unlink(missing_ok=True)
