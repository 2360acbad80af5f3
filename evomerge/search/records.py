"""Read and write trials, recipes and item scores as JSON text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evomerge.types import Candidate, Done, Expert, ItemScore, Recipe, Trial


def recipe_from_canonical(values: Mapping[str, Any]) -> Recipe:
    """The recipe of :meth:`Recipe.canonical`'s values; it has the same fingerprint."""
    return Recipe(
        base=values["base"],
        experts=tuple(Expert(name, source) for name, source in values["experts"]),
        method=values["method"],
        weights=tuple(tuple(row) for row in values["weights"]),
        expert_parameters={name: tuple(row) for name, row in values["expert_parameters"].items()},
        parameters=dict(values["parameters"]),
        modifiers={name: dict(own) for name, own in values.get("modifiers", {}).items()},
        seed=values["seed"],
        dtype=values["dtype"],
    )


def items_to_json(items: Sequence[ItemScore]) -> list[list[Any]]:
    return [[i.task, i.item, i.outcome, i.answer, dict(i.metrics)] for i in items]


def items_from_json(rows: Sequence[Sequence[Any]]) -> tuple[ItemScore, ...]:
    return tuple(ItemScore(task, item, outcome, answer, metrics) for task, item, outcome, answer, metrics in rows)


def dump_rung(done: Done) -> str:
    """The items of one rung of a candidate as JSON text."""
    values = {"items": items_to_json(done.items), "seconds": round(done.seconds, 3), "isolation": done.isolation}
    return json.dumps(values, ensure_ascii=False)


def load_rung(key: str, text: str) -> Done:
    values = json.loads(text)
    return Done(key, items_from_json(values["items"]), values["seconds"], values["isolation"])


def dump_outcome(candidate: Candidate, done: Done, stopped: bool = False) -> str:
    """A finished trial as JSON text, without its number."""
    return json.dumps(
        {
            "recipe": candidate.recipe.canonical(),
            "params": dict(candidate.params),
            "label": candidate.label,
            "items": items_to_json(done.items),
            "seconds": round(done.seconds, 3),
            "isolation": done.isolation,
            "error": done.error,
            **({"stopped": True} if stopped else {}),
        },
        ensure_ascii=False,
    )


def load_outcome(number: int, text: str) -> Trial:
    values = json.loads(text)
    return Trial(
        number=number,
        recipe=recipe_from_canonical(values["recipe"]),
        params=values["params"],
        label=values["label"],
        items=items_from_json(values["items"]),
        seconds=values["seconds"],
        isolation=values["isolation"],
        error=values["error"],
        stopped=values.get("stopped", False),
    )
