"""From the configuration to the objects the parts work with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from evomerge.cluster.machine import cores
from evomerge.cluster.ray_pool import RayPool
from evomerge.cluster.serial import SerialPool
from evomerge.config import Config, plain
from evomerge.engine.merger import Merger
from evomerge.errors import UserError
from evomerge.evaluation import worker_settings
from evomerge.evaluation.worker import WorkerSpec, build_worker
from evomerge.evaluation.worker_memory import worker_memory
from evomerge.inference.device import default_device, default_dtype
from evomerge.jobs.steps.arguments import model_source
from evomerge.recipes.space import SearchSpace, default_methods
from evomerge.types import DTYPES, Expert, Objective, Pool
from evomerge.weights.checkpoint import Checkpoint

# Seconds that a worker gets, past its time limit, to say so itself; one that hangs is replaced.
_GRACE = 60.0


def experts_of(config: Config) -> tuple[Expert, ...]:
    return tuple(Expert(name, model_source(source)) for name, source in config.models.experts.items())


def search_space(config: Config, base: str, experts: tuple[Expert, ...], merger: Merger) -> SearchSpace:
    adapters = all(vector.is_lora for vector in merger.experts.values())
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
        dtype=config.space.dtype or _dtype_of(merger.base),
        modifiers=tuple(config.space.modifiers),
    )


def _dtype_of(base: Checkpoint) -> str:
    """That most numbers of ``base`` are stored in; bfloat16 where it is none that models are merged to."""
    numbers: Counter[str] = Counter()
    for name in base:
        numbers[str(base.dtype(name)).removeprefix("torch.")] += math.prod(base.shape(name))
    most = numbers.most_common(1)[0][0]
    return most if most in DTYPES else "bfloat16"


def objectives_of(config: Config) -> tuple[Objective, ...]:
    return tuple(Objective(name, task["expert"]) for name, task in config.tasks.items() if task["objective"])


def dtype_of_run(config: Config, begun: Mapping[str, Any]) -> str:
    """What the models of a search compute in: as asked, else as the search with the identity ``begun`` does, which may
    come from another machine, else what the device here is fast in."""
    return config.backend.dtype or begun.get("dtype") or default_dtype(config.backend.device or default_device())


def worker_spec(config: Config, base: str, experts: tuple[Expert, ...]) -> WorkerSpec:
    """
    Raises:
        UserError: a setting that cannot be, or a device that is not there.
    """
    spec = worker_settings.worker_spec(plain(config), base, experts)
    try:
        device = torch.device(spec.device)
        module = torch.get_device_module(device)
    except RuntimeError:
        raise UserError(f"backend.device must be cpu or cuda, got '{spec.device}'") from None
    elsewhere = config.cluster.kind == "ray" and config.cluster.address is not None
    gpus = 0 if device.type == "cpu" else module.device_count()
    if device.type != "cpu" and not elsewhere and (device.index or 0) >= gpus:
        raise UserError(
            f"backend.device={spec.device}, but torch sees {gpus} GPUs here: leave it out to take what there is"
        )
    return spec


def open_pool(config: Config, spec: WorkerSpec, works: int | None = None) -> Pool:
    """The pool that ``cluster`` asks for, of no more workers than ``works``. They start in the background."""
    cluster = config.cluster
    if cluster.kind == "serial":
        return SerialPool(build_worker(replace(spec, threads=spec.threads or cores())))
    gpu = spec.device.startswith("cuda")
    return RayPool(
        spec,  # without threads torch takes those that the pool gives
        build_worker,
        workers=cluster.workers,
        threads=cluster.threads,
        address=cluster.address,
        memory=0 if gpu else worker_memory(spec),
        works=works,
        gpu=gpu,
        timeout=cluster.timeout + _GRACE,
    )
