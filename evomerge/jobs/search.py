"""``job=search``: search for a merge, choose the winner, measure it, deliver it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from evomerge.cluster.settings import ClusterSettings
from evomerge.errors import UserError, nearest
from evomerge.evaluation.judging.sandbox import SandboxSettings
from evomerge.hub.settings import HubSettings
from evomerge.inference.backend_settings import BackendSettings
from evomerge.inference.serving.latency_settings import LatencySettings
from evomerge.jobs.checked_tasks import checked_tasks, objectives_of
from evomerge.jobs.registry import job
from evomerge.recipes.space_settings import ModelsSettings, SpaceSettings
from evomerge.search.settings import SearchSettings
from evomerge.search.tracking.settings import TrackingSettings


@dataclass(frozen=True)
class Settings:
    """
    Attributes:
        name: of the run; its folder is ``outputs/name``.
        outputs: folder of run folders.
        rank: of best/lora; None: exact where all experts are adapters.
        push_to_hub: ``ORG/NAME`` of the repository that gets the winner.

    Raises:
        UserError: no experts, no task to search for, or a task with an unknown expert.
    """

    name: str = "default"
    outputs: str = "outputs"
    rank: int | None = None
    models: ModelsSettings = field(default_factory=ModelsSettings)
    space: SpaceSettings = field(default_factory=SpaceSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    tasks: dict[str, Any] = field(default_factory=dict)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    backend: BackendSettings = field(default_factory=BackendSettings)
    sandbox: SandboxSettings = field(default_factory=SandboxSettings)
    latency: LatencySettings = field(default_factory=LatencySettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    push_to_hub: str | None = None
    hub: HubSettings = field(default_factory=HubSettings)

    def __post_init__(self) -> None:
        experts = self.models.experts
        if not experts:
            raise UserError("a search needs experts: set models.experts, for example models.experts.sql=FOLDER")
        tasks = checked_tasks(self.tasks)
        object.__setattr__(self, "tasks", tasks)
        if not any(task["objective"] for task in tasks.values()):
            raise UserError("a search needs a task with objective=true, got none; for example tasks=[sql,json]")
        for name, task in tasks.items():
            if (expert := task["expert"]) is not None and expert not in experts:
                raise UserError(f"tasks.{name}.expert names no expert, got '{expert}': {nearest(expert, experts)}")
        for place in (self.folder, *self.folder.parents):
            if place.is_file():
                raise UserError(
                    f"the run folder {self.folder} cannot be made, {place} is a file: choose another outputs="
                )
        if self.rank is not None and self.rank < 1:
            raise UserError(f"rank must be at least 1, got {self.rank}: leave it out for an exact best/lora")

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.outputs) / self.name


@job(
    "search",
    Settings,
    "python -m evomerge +experiment=sql_code_json [KEY=VALUE ...]           search; the same command resumes",
)
def run(settings: Settings) -> None:
    """Search within the budget, then deliver the winner; the run folder is ``outputs/<name>``."""
    # late: torch, Optuna, Ray and all merge methods
    from evomerge.engine.load_merger import merger_for
    from evomerge.jobs.steps import push_winner
    from evomerge.jobs.steps.choose_winner import better_lora, select
    from evomerge.jobs.steps.export_winner import export_winner
    from evomerge.jobs.steps.identity import earlier_versions, open_and_identify
    from evomerge.jobs.steps.learn_profile import learned_start, score_alone, with_profile
    from evomerge.jobs.steps.measure_latency import measure_winner
    from evomerge.jobs.steps.model_names import model_source
    from evomerge.jobs.steps.open_space import experts_of, search_space
    from evomerge.jobs.steps.open_workers import dtype_of_run, open_pool, threads_together, worker_spec
    from evomerge.jobs.steps.phases import Phases
    from evomerge.jobs.steps.score_on_test_items import lora_key, score_on_test_items
    from evomerge.jobs.steps.score_references import with_references_outside
    from evomerge.jobs.steps.scored_once import Measurement
    from evomerge.jobs.steps.terminal_view import listener as terminal_listener
    from evomerge.report.delivery import write_cards
    from evomerge.report.write import print_summary, write_report
    from evomerge.search.begin import begin_run
    from evomerge.search.choose import scored
    from evomerge.search.loop import run_search
    from evomerge.search.samplers import SAMPLERS
    from evomerge.search.store import Store
    from evomerge.search.tables import write_tables
    from evomerge.search.tracking.listener import with_tracking
    from evomerge.settings import from_mapping

    push_winner.check(settings.push_to_hub)
    folder, search, tasks = settings.folder, settings.search, settings.tasks
    options = from_mapping(SAMPLERS[search.sampler].options, search.options, "search.options")
    listener = with_tracking(terminal_listener(), settings.tracking, folder, settings.name)
    base, experts = model_source(settings.models.base), experts_of(settings.models)
    merger = merger_for(base, experts)
    space = search_space(settings.space, base, experts, merger)
    store = Store(folder)
    dtype = dtype_of_run(settings.backend, store.identity)
    spec = worker_spec(settings, base, experts, dtype)
    objectives = objectives_of(tasks)
    identity, prompts = open_and_identify(tasks, search.runaway, spec, space)
    identity["search.learned"] = search.learned
    identity["references"] = {label: recipe.fingerprint for label, recipe in space.references().items()}
    begin_run(store, space, objectives, search.sampler, identity, earlier_versions(identity), whole=False)
    _keep(settings, folder, space.layer_groups, dtype, prompts)
    seconds = Phases(folder)
    pool = open_pool(settings.cluster, spec, works=search.budget)
    measurement = Measurement(pool, store, objectives, space.references() | dict(space.anchors()), listener)
    try:
        with seconds("search"):
            measurement = with_references_outside(measurement, space)
            objectives = measurement.objectives
        if search.learned != "false":
            with seconds("search"):
                score_alone(measurement, folder)
            with seconds("learn"):
                threads = threads_together(settings.cluster, spec, pool.size)
                start = learned_start(measurement, merger, space, search, threads, folder)
            space = with_profile(space, start, merger.layers)
            identity["learned.json"] = start.digest
            measurement = replace(measurement, anchors=space.references() | dict(space.anchors()))
        with seconds("search"):
            run_search(
                pool,
                space,
                store,
                objectives,
                search.budget,
                search.sampler,
                search.seed,
                listener,
                options=options,
                runaway=search.runaway,
                racing=search.racing,
                ahead=0 if settings.cluster.kind == "serial" else 1,
                identity=identity,
            )
        with seconds("selection"):
            winner = select(measurement, scored(store.trials())).recipe
        with seconds("export"):
            better = better_lora(measurement, lora_key(winner, settings.rank))
            artifacts = export_winner(merger, winner, folder / "best", settings.rank, better)
        with seconds("test"):
            reported = {name: task["expert"] for name, task in tasks.items() if not task["objective"]}
            score_on_test_items(measurement, winner, artifacts, settings.rank, reported, folder)
    except BaseException:
        with suppress(OSError):
            write_tables(folder)
        raise
    finally:
        pool.close()
        store.close()
    write_tables(folder)
    if settings.latency.measure:  # after the workers have gone
        with seconds("latency"):
            measure_winner(settings.latency, replace(settings.backend, dtype=dtype), folder, winner)
    write_report(folder)
    write_cards(folder)
    print_summary(folder)
    push_winner.push(settings.push_to_hub, settings.hub, folder)


def _keep(settings: Settings, folder: Path, groups: int, dtype: str, prompts: Mapping[str, Mapping[str, str]]) -> None:
    """Write ``config.yaml``, with values in place of defaults that depend on the models or the machine, and the prompts
    of the test items."""
    import yaml

    from evomerge.files.small_files import write_text

    space, backend = replace(settings.space, layer_groups=groups), replace(settings.backend, dtype=dtype)
    values = {"job": "search", **asdict(replace(settings, space=space, backend=backend))}
    write_text(folder / "config.yaml", yaml.safe_dump(values, sort_keys=False))
    write_text(folder / "prompts.json", json.dumps(prompts))
