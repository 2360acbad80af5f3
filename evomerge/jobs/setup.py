"""From the configuration to the objects the parts work with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from evomerge.cluster.ray_pool import RayPool
from evomerge.cluster.serial import SerialPool
from evomerge.config import Config, TaskConfig
from evomerge.engine.merge import Merger
from evomerge.errors import UserError, nearest
from evomerge.evaluation.documents import ItemOptions
from evomerge.evaluation.task_base import TaskSpec
from evomerge.evaluation.worker import WorkerSpec, build_worker
from evomerge.jobs.arguments import model_source
from evomerge.recipes.space import SearchSpace, default_methods
from evomerge.types import Expert, Objective, Pool
from evomerge.weights.task_vector import LowRankTaskVector


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


def task_specs(tasks: Mapping[str, TaskConfig]) -> tuple[TaskSpec, ...]:
    if not tasks:
        raise UserError("no task given: add tasks=[sql,json]")
    return tuple(
        TaskSpec(
            name=name,
            task=task.task,
            data=None if task.data is None else str(_file(task.data, f"tasks.{name}.data")),
            max_new_tokens=task.max_new_tokens,
            limit=task.limit,
            options=_item_options(name, task),
            samples=task.samples,
            k=tuple(task.k),
            temperature=task.temperature,
            num_fewshot=task.num_fewshot,
            chat_template=task.chat_template,
            system_instruction=task.system_instruction,
            metric=task.metric,
        )
        for name, task in tasks.items()
    )


def _item_options(name: str, task: TaskConfig) -> ItemOptions:
    try:
        return ItemOptions(compare=task.compare, strip_fence=task.strip_fence, style=task.style)
    except UserError as error:
        raise UserError(f"tasks.{name}.{error}") from None


def _file(name: str, key: str) -> Path:
    """A file or a folder."""
    path = Path(name).expanduser()
    if not path.exists():
        siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"{key}: no file '{name}'" + (f": {nearest(path.name, siblings)}" if siblings else ""))
    return path.resolve()


def objectives_of(config: Config) -> tuple[Objective, ...]:
    return tuple(Objective(name, task.expert) for name, task in config.tasks.items() if task.objective)


def worker_spec(config: Config, base: str, experts: tuple[Expert, ...]) -> WorkerSpec:
    return WorkerSpec(
        base=base,
        experts=experts,
        tasks=task_specs(config.tasks),
        backend=config.backend.kind,
        batch_size=config.backend.batch_size,
        threads=config.cluster.threads,
        dtype=config.backend.dtype,
        device=device(config),
        allow_weak=config.sandbox.allow_weak,
    )


def device(config: Config) -> str:
    if config.backend.device is not None:
        return config.backend.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


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
        timeout=cluster.timeout,
    )
