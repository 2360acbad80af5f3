"""Learn weights per layer and expert before the search: the profile ``learned`` of the search space.

Experts' answers to the search items come first, so base and experts are scored; the search finds these scores in the
store. What was learned is kept in ``learned.json``: a resumed run reads it, or learns the same again.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evomerge.engine.merger import Merger
from evomerge.errors import UserError
from evomerge.files.json_files import read_json
from evomerge.files.small_files import write_text
from evomerge.jobs.steps.scored_once import Measurement, recipe_request
from evomerge.merging.registry import METHODS
from evomerge.recipes.profiles import WEIGHT_STEP, Profile, lines_profile
from evomerge.recipes.space import SearchSpace
from evomerge.search.settings import SearchSettings
from evomerge.types import Done, ItemScore, Lesson, Recipe

log = logging.getLogger(__name__)

FILE = "learned.json"


@dataclass(frozen=True)
class Start:
    """What the search may start from.

    Attributes:
        profile: the learned weights; None: there are none.
        line: what a person should know of it.
    """

    profile: Profile | None
    line: str

    @property
    def digest(self) -> str | None:
        """Tells profiles apart; None without one."""
        values = None if self.profile is None else [self.profile.method, self.profile.weights]
        return None if values is None else hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def score_alone(measurement: Measurement, folder: Path) -> None:
    """Score the base and each expert alone on the search items, unless the run has learned from them already."""
    if not (folder / FILE).is_file():
        requests = [
            recipe_request(label, recipe, measurement.tasks)
            for label, recipe in measurement.anchors.items()
            if label == "base" or label.startswith("expert:")
        ]
        measurement.score((), "search", requests)


def learned_start(
    measurement: Measurement,
    merger: Merger,
    space: SearchSpace,
    search: SearchSettings,
    threads: int | None,
    folder: Path,
) -> Start:
    """The learned profile, from ``learned.json`` or learned now by a worker. Its line is logged.

    Args:
        measurement: has scored base and experts.
        threads: of the worker that learns.

    Raises:
        UserError: ``learned.json`` is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        write_text(path, json.dumps(_learn(measurement, merger, space, search, threads), indent=1))
    start = _read(path, space, merger.layers)
    log.info(start.line)
    return start


def with_profile(space: SearchSpace, start: Start, layers: int) -> SearchSpace:
    """The space with the profiles ``lines`` and ``learned``, if there is a learned one."""
    if start.profile is None:
        return space
    lines = lines_profile(layers, len(space.experts))
    return replace(space, profiles=(*(() if "lines" in space.modifiers else (lines,)), start.profile))


def profiles_to_come(merger: Merger, space: SearchSpace) -> tuple[str, ...]:
    """Names of the profiles that a search adds to the space if its experts give answers to learn from."""
    if _impossible(merger, space, _method(space), "gold", ()) is not None:
        return ()
    return (*(() if "lines" in space.modifiers else ("lines",)), "learned")


def _learn(
    measurement: Measurement, merger: Merger, space: SearchSpace, search: SearchSettings, threads: int | None
) -> dict[str, Any]:
    """Contents of ``learned.json``."""
    method = _method(space)
    answers = _own_answers(measurement) if search.learned == "own" else ()
    reason = _impossible(merger, space, method, search.learned, answers)
    if reason is not None:
        return {"targets": search.learned, "left_out": reason}
    assert method is not None
    lesson = Lesson(
        key="learn",
        recipe=_recipe(space, method),
        answers=answers,
        gold=measurement.tasks if search.learned == "gold" else (),
        low=max(space.weight_range[0], WEIGHT_STEP),
        high=space.weight_range[1],
        seed=search.seed,
        threads=threads,
    )
    measurement.pool.submit(lesson)
    done = _wait(measurement)
    if done.learned is None:
        return {"targets": search.learned, "left_out": str(done.error)}
    without = [task for task in measurement.tasks if not done.learned.answers.get(task)]
    found = asdict(done.learned) | {"seconds": round(done.seconds, 1), "without_answers": without}
    if done.learned.loss_after >= done.learned.loss_before:
        found["left_out"] = "nothing was gained on the answers held back"
    return {"targets": search.learned, "method": method, **found}


def _wait(measurement: Measurement) -> Done:
    while True:
        for done in measurement.pool.wait():
            return done


def _method(space: SearchSpace) -> str | None:
    """The method whose parts are weighted: TSV-M if it is searched, since its parts disturb each other least."""
    weighted = [name for name in space.methods if METHODS[name].parts is not None]
    return "core_tsv" if "core_tsv" in weighted else next(iter(weighted), None)


def _recipe(space: SearchSpace, method: str) -> Recipe:
    return Recipe(
        base=space.base,
        experts=space.experts,
        method=method,
        weights=((1.0,) * len(space.experts),),
        parameters={name: default for name, (_, default) in METHODS[method].parameters.items()},
        seed=space.seed,
        dtype=space.dtype,
    )


def _own_answers(measurement: Measurement) -> tuple[ItemScore, ...]:
    """The right answers of each task's expert alone to the search items."""
    found: list[ItemScore] = []
    for objective in measurement.objectives:
        alone = measurement.anchors.get(f"expert:{objective.expert}")
        if alone is not None:
            items = measurement.store.evaluation(alone.fingerprint, "search", (objective.task,))
            found += (item for item in items or () if item.outcome == 1.0)
    return tuple(found)


def _impossible(
    merger: Merger, space: SearchSpace, method: str | None, targets: str, answers: Sequence[ItemScore]
) -> str | None:
    """Why nothing can be learned, known before a worker tries."""
    if len(space.experts) < 2:
        return "one expert alone has nothing to be weighed against"
    full = next((name for name, vector in merger.experts.items() if not vector.is_lora), None)
    if full is not None:
        return f"expert '{full}' is no LoRA adapter alone, and weights are learned in the core space of adapters"
    if method is None:
        return "space.methods has none with parts that can be weighted: add core_tsv or core_task_arithmetic"
    if targets == "own" and not answers:
        return "no expert gave a right answer to a search item of its task: search.learned=gold takes reference answers"
    return None


def _read(path: Path, space: SearchSpace, layers: int) -> Start:
    values = read_json(path)
    try:
        if values.get("left_out"):
            return Start(None, f"no learned weights: {values['left_out']}")
        rows = tuple(tuple(float(weight) for weight in row) for row in values["weights"])
        if len(rows) != layers or any(len(row) != len(space.experts) for row in rows):
            raise ValueError(f"wanted weights of {layers} layers and {len(space.experts)} experts")
        method = METHODS[values["method"]].name
        return Start(Profile("learned", rows, method), " ".join(_told(values)))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} holds no learned weights ({error!r}): delete it, and they are learned again"
        ) from error


def _told(values: dict[str, Any]) -> Iterator[str]:
    """
    >>> " ".join(_told({"steps": 41, "seconds": 312, "loss_before": 1.31, "loss_after": 0.62, "without_answers": []}))
    'learned weights: 41 steps, 5.2 min, held-back loss 1.31 -> 0.62 nats an answer'
    """
    yield f"learned weights: {values['steps']} steps, {values['seconds'] / 60:.1f} min, held-back loss"
    yield f"{values['loss_before']:.2f} -> {values['loss_after']:.2f} nats an answer"
    if values["without_answers"]:
        yield f"(no answers to learn from for {', '.join(values['without_answers'])})"
