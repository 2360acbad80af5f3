"""Open the workers that score models, from a job's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch

from evomerge.cluster.machine import cores
from evomerge.cluster.ray_pool import RayPool
from evomerge.cluster.serial import SerialPool
from evomerge.cluster.settings import ClusterSettings
from evomerge.errors import UserError
from evomerge.evaluation import worker_settings
from evomerge.evaluation.judging.sandbox import SandboxSettings
from evomerge.evaluation.worker import WorkerSpec, build_worker
from evomerge.evaluation.worker_memory import worker_memory
from evomerge.inference.backend_settings import BackendSettings
from evomerge.inference.device import default_device, default_dtype
from evomerge.types import Expert, Pool

# Seconds that a worker gets, past its time limit, to say so itself; one that hangs is replaced.
_GRACE = 60.0


class ScoringSettings(Protocol):
    """Settings of every job that scores models."""

    @property
    def tasks(self) -> Mapping[str, Any]: ...

    @property
    def cluster(self) -> ClusterSettings: ...

    @property
    def backend(self) -> BackendSettings: ...

    @property
    def sandbox(self) -> SandboxSettings: ...


def dtype_of_run(backend: BackendSettings, begun: Mapping[str, Any]) -> str:
    """Dtype that the models of a search compute in: as asked, else as the search with the identity ``begun`` does
    (another machine may have begun it), else the one that the device here is fast in."""
    return backend.dtype or begun.get("dtype") or default_dtype(backend.device or default_device())


def worker_spec(
    settings: ScoringSettings, base: str, experts: tuple[Expert, ...], dtype: str | None = None
) -> WorkerSpec:
    """
    Args:
        dtype: that models compute in; None: as ``backend.dtype`` says.

    Raises:
        UserError: a setting that cannot be, or a device that is not there.
    """
    cluster, backend = settings.cluster, settings.backend
    backend = replace(backend, dtype=dtype or backend.dtype)
    spec = worker_settings.worker_spec(base, experts, settings.tasks, backend, settings.sandbox, cluster.timeout)
    spec = replace(spec, threads=cluster.threads)
    try:
        device = torch.device(spec.device)
        module = torch.get_device_module(device)
    except RuntimeError:
        raise UserError(f"backend.device must be cpu or cuda, got '{spec.device}'") from None
    elsewhere = cluster.kind == "ray" and cluster.address is not None
    gpus = 0 if device.type == "cpu" else module.device_count()
    if device.type != "cpu" and not elsewhere and (device.index or 0) >= gpus:
        raise UserError(
            f"backend.device={spec.device}, but torch sees {gpus} GPUs here: leave it out to take what there is"
        )
    return spec


def threads_together(cluster: ClusterSettings, spec: WorkerSpec, workers: int) -> int | None:
    """Threads that one worker may take while the others have nothing to do; None: those that it has."""
    if spec.device != "cpu" or cluster.address is not None or cluster.kind == "serial":
        return None
    return workers * (cluster.threads or max(1, cores() // workers))


def open_pool(cluster: ClusterSettings, spec: WorkerSpec, works: int | None = None) -> Pool:
    """The pool that ``cluster`` asks for, of no more workers than ``works``. They start in the background."""
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
