"""From the configuration to the objects the parts work with."""

from __future__ import annotations

from evomerge.cluster.ray_pool import RayPool
from evomerge.cluster.serial import SerialPool
from evomerge.config import Config, plain
from evomerge.engine.merge import Merger
from evomerge.errors import UserError, nearest
from evomerge.evaluation import settings
from evomerge.evaluation.worker import WorkerSpec, build_worker
from evomerge.jobs.arguments import model_source
from evomerge.recipes.space import SearchSpace, default_methods
from evomerge.types import Expert, Objective, Pool
from evomerge.weights.task_vector import LowRankTaskVector

# Seconds that a worker gets, past its time limit, to say so itself; one that hangs is replaced.
_GRACE = 60.0


def experts_of(config: Config) -> tuple[Expert, ...]:
    return tuple(Expert(name, model_source(source)) for name, source in config.models.experts.items())


def search_space(config: Config, base: str, experts: tuple[Expert, ...], merger: Merger) -> SearchSpace:
    adapters = all(isinstance(vector, LowRankTaskVector) for vector in merger.experts.values())
    methods = tuple(config.space.methods) or default_methods(adapters)
    if not adapters and (core := [name for name in methods if name.startswith("core_")]):
        raise UserError(
            f"{core[0]} needs LoRA adapters, and an expert here is a full model: leave it out of space.methods"
        )
    return SearchSpace(
        base=base,
        experts=experts,
        methods=methods,
        layer_groups=min(config.space.layer_groups, merger.layers),
        weight_range=(config.space.weight_low, config.space.weight_high),
        seed=config.space.seed,
        dtype=config.backend.dtype,
        modifiers=tuple(config.space.modifiers),
    )


def objectives_of(config: Config) -> tuple[Objective, ...]:
    return tuple(Objective(name, task.expert) for name, task in config.tasks.items() if task.objective)


def worker_spec(config: Config, base: str, experts: tuple[Expert, ...]) -> WorkerSpec:
    return settings.worker_spec(plain(config), base, experts)


def open_pool(config: Config, spec: WorkerSpec) -> Pool:
    """The pool that ``cluster`` asks for. Its workers start in the background."""
    cluster = config.cluster
    if cluster.kind == "serial":
        return SerialPool(build_worker(spec))
    if cluster.kind != "ray":
        raise UserError(f"unknown cluster.kind '{cluster.kind}': {nearest(cluster.kind, ['ray', 'serial'])}")
    return RayPool(
        spec,
        build_worker,
        workers=cluster.workers,
        threads=cluster.threads,
        address=cluster.address,
        gpu=spec.device.startswith("cuda"),
        timeout=cluster.timeout + _GRACE,
    )
