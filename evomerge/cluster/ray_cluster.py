"""Start or join a Ray cluster, and count the workers that it has room for."""

from __future__ import annotations

import logging
import os
import socket
import time
from typing import Any

import ray

from evomerge.cluster.base import describe
from evomerge.cluster.machine import cores, free_memory
from evomerge.cluster.worker_count import Demand, fit
from evomerge.errors import UserError

_OBJECT_STORE = 200 * 1024**2  # bytes; recipes and answers are small, weights never pass through it
_POLL = 0.1  # seconds
_PATIENCE = 5.0  # seconds that a Ray in use gets to free what a closed pool held


def connect(address: str | None, demand: Demand) -> None:
    """Join or start Ray."""
    logging.getLogger("ray").setLevel(logging.ERROR)  # Ray would write its start-up messages to stderr
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
    if address is None:
        workers, threads = fit(demand, cores(), free_memory())
        ray.init(
            address="local",  # ignore RAY_ADDRESS
            num_cpus=workers * threads,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE,
            **quiet,
        )
        return
    try:
        _probe(address)
        ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"no Ray cluster at '{address}' ({describe(error)}): start one with `ray start --head`, "
            "or leave cluster.address out to run on this machine"
        ) from None


def _probe(address: str) -> None:
    """Fail at once if nothing listens at the address: Ray would try for minutes. Ray itself checks ``auto`` and ``ray://``."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def pool_size(demand: Demand, gpu: bool, local: bool) -> tuple[int, int]:
    """Number of actors and threads of each: as asked, or as many as Ray has room for beside other pools and jobs.

    Raises:
        UserError: Ray has no room for the demand, or for one actor.
    """
    fitting, threads = fit(demand, cores(), free_memory()) if local and not gpu else (None, demand.threads or 1)
    kind, each = ("GPU", 1) if gpu else ("CPU", threads)
    wanted = demand.workers or 1
    deadline = time.monotonic() + _PATIENCE
    while (room := int(ray.available_resources().get(kind, 0)) // each) < wanted and time.monotonic() < deadline:
        if ray.cluster_resources().get(kind, 0) < wanted * each:
            break  # waiting would not free any
        time.sleep(_POLL)
    if room < wanted:
        free, total = (resources().get(kind, 0) for resources in (ray.available_resources, ray.cluster_resources))
        raise UserError(
            f"cluster.workers={wanted} needs {wanted * each} {kind}s, but of Ray's {total:g} only {free:g} are free: "
            "close the pool or job that holds them, ask for fewer workers or threads, or join a larger cluster"
        )
    bounds = [room, demand.works, fitting if local else _by_nodes(kind, each, 0 if gpu else demand.memory)]
    size = demand.workers or max(1, min(bound for bound in bounds if bound is not None))
    return size, demand.threads or (max(1, cores() // size) if local and gpu else threads)


def _by_nodes(kind: str, each: int, memory: int) -> int:
    """Number of actors that the idle nodes would hold; an actor has to fit one node."""
    needed = {kind: each} | ({"memory": memory} if memory else {})
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(min(int(own.get(name, 0)) // amount for name, amount in needed.items()) for own in nodes)


def worker_environment(threads: int) -> dict[str, str]:
    """Environment in which OpenMP threads sleep while they wait: spinning threads slow two processes on the same
    cores down 7-10 times. The threads of a worker that has cores of its own spin for a short while first.
    """
    passed_on = {k: v for k, v in os.environ.items() if k.startswith(("HF_", "EVOMERGE_", "TRANSFORMERS_", "TQDM_"))}
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0" if threads == 1 else "2000",
        "TOKENIZERS_PARALLELISM": "false",
        **passed_on,
    }
