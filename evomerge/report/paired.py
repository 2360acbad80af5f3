"""Compare models with a reference on the same items: how much each differs, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evomerge.errors import UserError
from evomerge.report.bootstrap import interval, resampled_means, resampled_retention
from evomerge.types import ItemScore

RETENTION = "smallest retention"


def differences(
    reference: Sequence[ItemScore],
    others: Mapping[str, Sequence[ItemScore]],
    task_experts: Mapping[str, Sequence[ItemScore]] | None = None,
) -> pd.DataFrame:
    """Mean outcomes of ``others`` minus those of ``reference``, paired item by item.

    Two models that miss the same hard items differ more surely than their own intervals say. Items are resampled for
    all models at once, which accounts for that (:mod:`evomerge.report.bootstrap`).

    Args:
        reference: item scores, of any number of tasks, of the model that the others are compared with.
        others: item scores by name. Only items that all models have answered count.
        task_experts: item scores of each task's expert; adds rows of the smallest retention.

    Returns:
        One row per model and task, in the order given, with columns ``model``, ``task``; ``score``, the mean outcome;
        ``difference`` from the reference with its 95 % interval ``low`` to ``high``; ``better`` and ``worse``, the
        numbers of items with a larger and a smaller outcome than the reference's (missing for retentions); ``items``.

    Raises:
        UserError: models have no item of a task in common.
    """
    tasks = list(dict.fromkeys(item.task for item in reference))
    models = [reference, *others.values()]
    # The last row of each task is the task's expert.
    outcomes = {t: _outcomes(t, models if task_experts is None else [*models, task_experts[t]]) for t in tasks}
    measured = np.stack([values.mean(axis=1) for values in outcomes.values()], axis=-1)
    means = resampled_means(outcomes)
    quantities = [(task, measured[:, m], means[:, :, m]) for m, task in enumerate(tasks)]
    if task_experts is not None:
        last = [len(models)] * len(tasks)
        quantities.append((RETENTION, resampled_retention(measured[None], last)[0], resampled_retention(means, last)))
    rows = []
    for place, name in enumerate(others, start=1):
        for what, values, draws in quantities:
            change = interval(float(values[place] - values[0]), draws[:, place] - draws[:, 0])
            row = {"model": name, "task": what, "score": float(values[place]), "difference": change.mean}
            row |= {"low": change.low, "high": change.high}
            if what in outcomes:
                own = outcomes[what]
                row |= {"better": int((own[place] > own[0]).sum()), "worse": int((own[place] < own[0]).sum())}
            row["items"] = sum(o.shape[1] for task, o in outcomes.items() if what in (task, RETENTION))
            rows.append(row)
    return pd.DataFrame(rows).astype({"better": "Int64", "worse": "Int64"})


def aligned(models: Sequence[Sequence[ItemScore]]) -> NDArray[np.float64]:
    """Outcomes (K, n) on the items of one task that all K models have answered."""
    by_model = [{item.item: item.outcome for item in own} for own in models]
    shared = [name for name in by_model[0] if all(name in own for own in by_model)]
    return np.array([[own[name] for name in shared] for own in by_model], dtype=np.float64)


def _outcomes(task: str, models: Sequence[Sequence[ItemScore]]) -> NDArray[np.float64]:
    found = aligned([[item for item in own if item.task == task] for own in models])
    if found.shape[1] == 0:
        raise UserError(f"the models have no item of {task} in common: score all of them on the same split")
    return found
