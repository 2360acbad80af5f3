"""The typed configuration: what a person may set, with defaults and cross-field checks.

Hydra composes ``conf/`` into these dataclasses; below the jobs nobody sees them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from evomerge.errors import UserError, nearest
from evomerge.evaluation.judging.sandbox import SandboxSettings
from evomerge.evaluation.task_settings import task_settings
from evomerge.inference.serving.latency_settings import LatencySettings
from evomerge.types import DTYPES

JOBS = ("search", "merge", "evaluate", "extract_lora", "report", "methods", "latency")
SPLITS = ("search", "selection", "test")
POOLS = ("ray", "serial")


def _check_dtype(key: str, dtype: str | None) -> None:
    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"{key} must be one of {', '.join(DTYPES)}, got '{dtype}'")


@dataclass
class ModelsConfig:
    """A base and its experts, each a model name: a folder, a hub id, ``pypi:...`` or ``evomerge:...``."""

    base: str = MISSING
    experts: dict[str, str] = field(default_factory=dict)


@dataclass
class SpaceConfig:
    """What is searched. ``methods`` empty: every registered method that fits the experts.

    ``modifiers``: ``lines``, ``svc`` or both, applied to every candidate, their parameters searched.
    ``dtype``: what merged weights are rounded to and saved in; empty: the base's own.
    """

    layer_groups: int = 4
    methods: list[str] = field(default_factory=list)
    modifiers: list[str] = field(default_factory=list)
    weight_low: float = 0.0
    weight_high: float = 1.5
    seed: int = 0
    dtype: str | None = None

    def __post_init__(self) -> None:
        _check_dtype("space.dtype", self.dtype)
        if self.layer_groups < 1:
            raise UserError(f"space.layer_groups must be at least 1, got {self.layer_groups}")
        if not self.weight_low < self.weight_high:
            raise UserError(
                f"space.weight_low must be below space.weight_high, got {self.weight_low} and {self.weight_high}"
            )


@dataclass
class SearchConfig:
    """``budget`` counts scored candidates, the anchors among them.

    ``runaway``: a candidate's answers to a task are cut off when they have taken so many times the tokens of the median
    candidate's (search.runaway); empty: never. Of one answer, ``tasks.NAME.max_new_tokens`` is the bound.
    """

    sampler: str = "gp"
    budget: int = 40
    seed: int = 0
    runaway: float | None = 5.0

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise UserError(f"search.budget must be at least 1, got {self.budget}")
        if self.runaway is not None and self.runaway < 1:
            raise UserError(f"search.runaway must be at least 1, got {self.runaway}: null cuts no answers off")


@dataclass
class ClusterConfig:
    """Where candidates run. ``workers`` empty: one per GPU, else as many as cores, memory and the work itself allow;
    ``threads`` of each empty: the cores that are left over.

    ``timeout``: seconds; an evaluation that takes longer fails.
    """

    kind: str = "ray"
    workers: int | None = None
    threads: int | None = None
    address: str | None = None
    timeout: float = 1800.0

    def __post_init__(self) -> None:
        if self.kind not in POOLS:
            raise UserError(f"unknown cluster.kind '{self.kind}': {nearest(self.kind, POOLS)}")
        for key in ("workers", "threads"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"cluster.{key} must be at least 1, got {value}: leave it out to use the whole machine")
        if self.timeout <= 0:
            raise UserError(f"cluster.timeout must be above 0 seconds, got {self.timeout:g}")


@dataclass
class BackendConfig:
    """What generates. ``device`` empty: cuda where there is one, else cpu.

    ``dtype``: what the model computes in; empty: as the run in the folder began, else bfloat16, or float32 on a
    processor without instructions for bfloat16.
    """

    kind: str = "hf"
    batch_size: int = 128
    device: str | None = None
    dtype: str | None = None

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UserError(f"backend.batch_size must be at least 1, got {self.batch_size}")
        _check_dtype("backend.dtype", self.dtype)


@dataclass
class SandboxConfig:
    """How a model's answers are run; SandboxSettings says what each means."""

    allow_weak: bool = SandboxSettings.allow_weak
    level: str | None = SandboxSettings.level
    code_seconds: int = SandboxSettings.code_seconds
    code_wall: float = SandboxSettings.code_wall
    sql_seconds: float = SandboxSettings.sql_seconds
    memory: int = SandboxSettings.memory
    parallel: int = SandboxSettings.parallel


@dataclass
class LatencyConfig:
    """What ``job=latency`` measures; LatencySettings says what each means.

    ``measure``: a search measures its winner too, once it is exported.
    """

    batch_sizes: list[int] = field(default_factory=lambda: list(LatencySettings.batch_sizes))
    prompt_tokens: int = LatencySettings.prompt_tokens
    new_tokens: int = LatencySettings.new_tokens
    rounds: int = LatencySettings.rounds
    measure: bool = False


@dataclass
class ExtractConfig:
    """What an extracted adapter holds (engine.extraction_plan.ExtractOptions says what each means)."""

    embeddings: str = "skip"
    norms: str = "skip"
    biases: str = "skip"
    added_tokens: str = "skip"
    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    max_rank: int | None = None
    distribute_scale: bool = True
    sv_epsilon: float = 0.0
    correct_mean: bool = False
    compress: bool = False  # of a merge of adapters: compress the experts, then merge


@dataclass
class HubConfig:
    """What ``push_to_hub=ORG/NAME`` uploads: ``kind`` model (best/model) or lora (best/lora)."""

    kind: str = "model"
    private: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("model", "lora"):
            raise UserError(f"unknown hub.kind '{self.kind}': {nearest(self.kind, ['model', 'lora'])}")


@dataclass
class TrackingConfig:
    """Where else a search's metrics go: ``kind`` none, tensorboard or wandb; ``project`` is W&B's."""

    kind: str = "none"
    project: str = "evomerge"


@dataclass
class Config:
    """The whole of it. ``model`` ... ``svd`` belong to single jobs and say so in ``--help``."""

    job: str = "search"
    name: str = "default"
    outputs: str = "outputs"
    model: str | None = None
    adapter: str | None = None
    base: str | None = None
    adapters: list[str] = field(default_factory=list)
    recipe: str | None = None
    out: str | None = None
    run: Any = None  # a folder; job=report takes a list of them, too
    split: str = "test"
    rank: int | None = None  # of an extracted adapter; of best/lora, where it need not be exact
    ranks: list[int] = field(default_factory=list)
    energy: float | None = None
    parameters: float | None = None
    svd: str = "randomized"
    extract: ExtractConfig = field(default_factory=ExtractConfig)
    seed: int | None = None  # of a merge: takes the place of the recipe's
    max_shard: str = "5GB"
    mergekit: str | None = None
    models: ModelsConfig = field(default_factory=ModelsConfig)
    space: SpaceConfig = field(default_factory=SpaceConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    tasks: dict[str, Any] = field(default_factory=dict)  # NAME -> all settings (evaluation.task_settings)
    cluster: ClusterConfig = field(default_factory=ClusterConfig)
    backend: BackendConfig = field(default_factory=BackendConfig)
    sandbox: SandboxConfig = field(default_factory=SandboxConfig)
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    push_to_hub: str | None = None
    hub: HubConfig = field(default_factory=HubConfig)

    def __post_init__(self) -> None:
        if self.job not in JOBS:
            raise UserError(f"unknown job '{self.job}': {nearest(self.job, JOBS)}")
        if self.split not in SPLITS:
            raise UserError(f"unknown split '{self.split}': {nearest(self.split, SPLITS)}")
        self.tasks = {name: task_settings(name, values or {}).settings for name, values in self.tasks.items()}
        if self.push_to_hub is not None and self.job not in ("search", "report"):
            raise UserError(f"push_to_hub goes with job=search and job=report, got job={self.job}: leave it out")
        if self.job == "search":
            self._check_search()

    def _check_search(self) -> None:
        if not self.models.experts:
            raise UserError("a search needs experts: set models.experts, for example models.experts.sql=FOLDER")
        if not any(task["objective"] for task in self.tasks.values()):
            raise UserError("a search needs a task with objective=true, got none; for example tasks=[sql,json]")
        for name, task in self.tasks.items():
            if (expert := task["expert"]) is not None and expert not in self.models.experts:
                hint = nearest(expert, self.models.experts)
                raise UserError(f"tasks.{name}.expert names no expert, got '{expert}': {hint}")


def register() -> None:
    """Enter the schema that ``conf/config.yaml`` starts from."""
    ConfigStore.instance().store(name="schema", node=Config)


def to_config(composed: DictConfig) -> Config:
    """Typed objects from Hydra's composition; a mandatory value left as ``???`` is the user's error."""
    missing = sorted(OmegaConf.missing_keys(composed))
    if missing:
        raise UserError(f"{missing[0]} has to be set: add {missing[0]}=VALUE")
    config = OmegaConf.to_object(composed)
    assert isinstance(config, Config)
    return config


def plain(config: Config) -> dict[str, Any]:
    """Plain containers, for ``config.yaml`` of the run folder."""
    values = OmegaConf.to_container(OmegaConf.structured(config))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}
