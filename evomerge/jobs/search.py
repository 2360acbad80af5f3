"""The main job: search, choose, measure, deliver."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from evomerge.config import Config, plain
from evomerge.engine.load_merger import merger_for
from evomerge.errors import RunFailed, UserError
from evomerge.evaluation.judging.judge import Judge
from evomerge.evaluation.worker import open_tasks
from evomerge.files.small_files import write_text
from evomerge.jobs.latency import latency_settings, measure_winner
from evomerge.jobs.steps import push_winner
from evomerge.jobs.steps.arguments import model_source
from evomerge.jobs.steps.environment import environment
from evomerge.jobs.steps.export_winner import Better, export_winner
from evomerge.jobs.steps.identity import identity
from evomerge.jobs.steps.open_workers import (
    dtype_of_run,
    experts_of,
    objectives_of,
    open_pool,
    search_space,
    worker_spec,
)
from evomerge.jobs.steps.scored_once import Wanted, evaluate, recipe_row, scores
from evomerge.jobs.steps.terminal_view import listener as live_listener
from evomerge.report.delivery import write_cards
from evomerge.report.write import print_summary, write_report
from evomerge.search.base import Listener
from evomerge.search.choose import choose, finalists, scored
from evomerge.search.loop import begin_run, run_search
from evomerge.search.store import Store
from evomerge.search.tables import write_tables
from evomerge.search.tracking.base import TrackingSetup
from evomerge.search.tracking.listener import with_tracking
from evomerge.types import Artefact, Objective, Pool, Recipe, Trial

FINALISTS = 8  # candidates that get the selection items,
ANCHORS = 2  # and the best anchors with them: unlike the searched, the search items do not overrate them


def run(config: Config) -> None:
    """Search within the budget, then deliver the winner; the run folder is ``outputs/<name>``."""
    push_winner.check(config)
    latency_settings(config)  # what is wrong there shows now
    folder = Path(config.outputs) / config.name
    tracking = TrackingSetup(folder, config.name, config.tracking.project)
    listener = with_tracking(live_listener(), config.tracking.kind, tracking)
    base, experts = model_source(config.models.base), experts_of(config)
    merger = merger_for(base, experts)
    space = search_space(config, base, experts, merger)
    store = Store(folder)
    config.backend.dtype = dtype_of_run(config, store.identity)
    spec = worker_spec(config, base, experts)
    objectives = objectives_of(config)
    with Judge(spec.sandbox) as judge:  # a bad data file or a missing sandbox shows here, before any work
        tasks = open_tasks(spec, judge)
        if any(task.judged for task in tasks.values()):
            logging.getLogger(__name__).info("answers are judged in a sandbox: %s", judge.level)
        own = identity(config, spec, space, tasks)
        prompts = {name: {item.id: item.prompt for item in task.items("test")} for name, task in tasks.items()}
    begin_run(store, space, objectives, config.search.sampler, own)
    write_text(folder / "config.yaml", yaml.safe_dump(plain(config), sort_keys=False))
    write_text(folder / "prompts.json", json.dumps(prompts))
    seconds = Phases(folder)
    anchors = dict(space.anchors())
    pool = open_pool(config, spec, works=config.search.budget)
    try:
        with seconds("search"):
            run_search(
                pool,
                space,
                store,
                objectives,
                config.search.budget,
                config.search.sampler,
                config.search.seed,
                listener,
                runaway=config.search.runaway,
                ahead=0 if config.cluster.kind == "serial" else 1,
                identity=own,
            )
        trials = scored(store.trials())
        with seconds("selection"):
            winner = select(pool, store, objectives, trials, anchors, listener)
        with seconds("export"):
            better = _better_lora(pool, store, objectives, anchors, _lora_key(winner, config), listener)
            artefacts = export_winner(merger, winner.recipe, folder / "best", config.rank, better)
        with seconds("test"):
            _test(config, pool, store, anchors, winner, artefacts, folder, listener)
    except BaseException:
        with suppress(OSError):
            write_tables(folder)
        raise
    finally:
        pool.close()
        store.close()
    write_tables(folder)
    if config.latency.measure:  # after the workers have gone
        with seconds("latency"):
            measure_winner(config, folder, winner.recipe)
    write_report(folder)
    write_cards(folder)
    print_summary(folder)
    push_winner.push(config, folder)


def select(
    pool: Pool,
    store: Store,
    objectives: tuple[Objective, ...],
    trials: list[Trial],
    anchors: Mapping[str, Recipe],
    listener: Listener,
) -> Trial:
    """The winner: of the best on the search items, who keeps most of its weakest skill on the selection items."""
    tasks = tuple(objective.task for objective in objectives)
    ranked = finalists(trials, objectives, len(trials))
    specialists = _specialists(objectives, anchors)
    failed: set[int] = set()
    while True:
        left = [trial for trial in ranked if trial.number not in failed]
        best = left[:FINALISTS]
        best += [trial for trial in left if trial.label][:ANCHORS]
        rows = {
            trial.number: recipe_row(f"#{trial.number} {trial.label or trial.recipe.method}", trial.recipe, tasks)
            for trial in best
        }
        if not rows:
            raise RunFailed("no candidate could be scored on the selection items, evaluations.jsonl says why")
        lost = evaluate(pool, store, "selection", list(specialists.values()), listener, list(rows.values()))
        if not lost:
            break
        failed |= {number for number, row in rows.items() if row in lost}  # the next one takes its place
    referenced = _referenced(store, objectives, specialists)
    chosen = choose([scores(store, "selection", row) for row in rows.values()], referenced)
    return next(trial for trial in best if trial.number == list(rows)[chosen])


def _specialists(objectives: tuple[Objective, ...], anchors: Mapping[str, Recipe]) -> dict[str, Wanted]:
    """Task -> the expert alone whose score is the task's reference."""
    return {
        objective.task: recipe_row(label, anchors[label], (objective.task,))
        for objective in objectives
        if (label := f"expert:{objective.expert}") in anchors
    }


def _referenced(store: Store, objectives: tuple[Objective, ...], specialists: Mapping[str, Wanted]) -> list[Objective]:
    alone = {task: scores(store, "selection", row)[task].mean for task, row in specialists.items()}
    return [replace(objective, reference=alone.get(objective.task)) for objective in objectives]


def _better_lora(
    pool: Pool,
    store: Store,
    objectives: tuple[Objective, ...],
    anchors: Mapping[str, Recipe],
    key: str,
    listener: Listener,
) -> Better:
    """Chooses among adapters as among candidates: on the selection items, by the smallest retention."""

    def better(adapters: Mapping[str, Artefact]) -> str:
        tasks = tuple(objective.task for objective in objectives)
        rows = {how: Wanted(f"best/lora {how}", own, tasks, f"{key}-{how}") for how, own in adapters.items()}
        lost = evaluate(pool, store, "selection", (), listener, list(rows.values()))
        rows = {how: row for how, row in rows.items() if row not in lost}
        if not rows:
            raise RunFailed("no best/lora could be scored on the selection items, evaluations.jsonl says why")
        referenced = _referenced(store, objectives, _specialists(objectives, anchors))
        return list(rows)[choose([scores(store, "selection", row) for row in rows.values()], referenced)]

    return better


def _test(
    config: Config,
    pool: Pool,
    store: Store,
    anchors: Mapping[str, Recipe],
    winner: Trial,
    artefacts: tuple[Artefact, Artefact],
    folder: Path,
    listener: Listener,
) -> None:
    """The table's rows on the test items. What is shipped is what is measured: the winner's row is best/model's."""
    tasks = tuple(name for name, task in config.tasks.items() if task["objective"])
    reported = {name: task["expert"] for name, task in config.tasks.items() if not task["objective"]}
    fingerprint = winner.recipe.fingerprint
    model = Wanted("best/model", artefacts[0], (*tasks, *reported), fingerprint)
    lora = Wanted("best/lora", artefacts[1], tasks, _lora_key(winner, config))
    others = []
    for label, recipe in anchors.items():
        extra = tuple(task for task, expert in reported.items() if label in ("base", f"expert:{expert}"))
        others.append(recipe_row(label, recipe, (*tasks, *extra)))
    evaluate(pool, store, "test", [model, lora], listener, others)
    measured = {
        name: {task: asdict(score) for task, score in scores(store, "test", row).items()}
        for name, row in (("model", model), ("lora", lora))
    }
    write_text(folder / "best" / "scores.json", json.dumps({"split": "test", **measured}, indent=2))


def _lora_key(winner: Trial, config: Config) -> str:
    return f"{winner.recipe.fingerprint}+lora{'' if config.rank is None else config.rank}"


class Phases:
    """Seconds spent in each phase, kept in ``environment.json`` and added up over resumed runs."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "environment.json"
        self._seconds: dict[str, float] = {}
        if self._file.is_file():
            self._seconds = json.loads(self._file.read_text()).get("seconds", {})
        self._write()

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        except BaseException:
            with suppress(OSError, UserError):  # what stopped the phase is what a person shall hear of
                self._add(phase, time.monotonic() - began)
            raise
        self._add(phase, time.monotonic() - began)

    def _add(self, phase: str, seconds: float) -> None:
        self._seconds[phase] = round(self._seconds.get(phase, 0.0) + seconds, 1)
        self._write()

    def _write(self) -> None:
        write_text(self._file, json.dumps({**environment(), "seconds": self._seconds}, indent=2))
