"""A pool of long-lived Ray actors, each holding one worker.

The loop over ``ray.wait`` is our own: ray.util.ActorPool drops an actor that died and the work with it.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

# Before the import of ray, which reads them: no report to Ray's makers, no remark about device variables.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray
import ray.exceptions

from evomerge.cluster.base import attempt, available_cores, describe, failed
from evomerge.errors import UserError
from evomerge.types import Done, Work, Worker

Spec = TypeVar("Spec")

_POLL = 0.1  # seconds; new work and time limits are noticed this late at most
_OBJECT_STORE = 200 * 1024**2  # bytes; recipes and answers are small, weights never pass through it
_DEATHS = 2  # workers that one work may cost before it counts as failed
_FAILED_STARTS = 3  # workers in a row that died while starting before the pool gives up


class _Host:
    """The actor. The worker is built in a call of its own, so that its exception comes back as it is."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def start(self, build: Callable[[Any], Worker], spec: Any) -> None:
        self._worker = build(spec)

    def evaluate(self, work: Work) -> Done:
        assert self._worker is not None
        return attempt(self._worker, work)


@dataclass
class _Actor:
    """One actor and what it is doing: ``call`` is its unfinished call, ``work`` None while it starts or idles."""

    handle: Any
    call: Any
    work: Work | None = None
    since: float = 0.0


class RayPool(Generic[Spec]):
    """Evaluates on Ray actors; a thread of this process hands out work the moment an actor is free.

    An actor that dies is replaced and its work submitted once more; the second death is a ``Done`` with an error. An
    evaluation that takes longer than ``timeout`` loses its actor and is a ``Done`` with an error.

    Args:
        spec: what ``build`` makes a worker from; both are pickled.
        build: makes one worker, inside the actor.
        workers: number of actors; by default as many as the cluster's GPUs (``gpu``) or cores / ``threads`` allow.
        threads: CPU threads per worker.
        address: ``auto`` or ``host:port`` joins a running cluster, where evomerge must be installed and the models
            reachable under the same names; None starts Ray on this machine for as long as the pool lives.
        gpu: one GPU per worker.
        timeout: seconds per evaluation, None for no limit. Loading the worker does not count.
        environment: more environment variables for the workers.

    Raises:
        UserError: the cluster cannot be reached or is too small; from :meth:`wait`, whatever ``build`` raised.
    """

    def __init__(
        self,
        spec: Spec,
        build: Callable[[Spec], Worker],
        workers: int | None = None,
        threads: int = 1,
        address: str | None = None,
        *,
        gpu: bool = False,
        timeout: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        if workers is not None and workers < 1:
            raise UserError(f"cluster.workers must be at least 1, got {workers}: leave it out to use the whole machine")
        self._spec, self._build, self._timeout = spec, build, timeout
        self._owns_ray = _connect(address, workers, threads)
        size = _workers(workers, threads, gpu)
        self._options = {
            "num_cpus": 0 if gpu else threads,
            "num_gpus": 1 if gpu else 0,
            "max_restarts": 0,
            "runtime_env": {"env_vars": {**_worker_environment(threads), **(environment or {})}},
        }
        self._queue: deque[Work] = deque()
        self._deaths: dict[str, int] = {}
        self._failed_starts = 0
        self._results: queue.SimpleQueue[Done | BaseException] = queue.SimpleQueue()
        self._change = threading.Condition()
        self._closed = False
        self._actors = [self._new_actor() for _ in range(size)]
        self._thread = threading.Thread(target=self._dispatch_forever, name="ray-pool", daemon=True)
        self._thread.start()

    @property
    def size(self) -> int:
        return len(self._actors)

    def submit(self, work: Work) -> None:
        with self._change:
            self._queue.append(work)
            self._hand_out()
            self._change.notify()

    def wait(self, timeout: float | None = None) -> list[Done]:
        """Everything that is finished, at least one unless ``timeout`` seconds pass first."""
        try:
            results = [self._results.get(timeout=timeout) if timeout != 0 else self._results.get_nowait()]
            while not self._results.empty():
                results.append(self._results.get_nowait())
        except queue.Empty:
            return []
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, Done)]

    def close(self) -> None:
        """Stop the actors, finished or not; a Ray that was started for this pool ends with it."""
        with self._change:
            if self._closed:
                return
            self._closed = True
            self._change.notify()
        self._thread.join()
        for actor in self._actors:
            ray.kill(actor.handle)
        if self._owns_ray:
            ray.shutdown()

    def __enter__(self) -> RayPool[Spec]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the dispatcher's thread; every access to actors and queue holds self._change -----------------------------

    def _new_actor(self) -> _Actor:
        handle = ray.remote(_Host).options(**self._options).remote()
        return _Actor(handle, handle.start.remote(self._build, self._spec))

    def _hand_out(self) -> None:
        for actor in self._actors:
            if actor.call is None and self._queue:
                actor.work = self._queue.popleft()
                actor.since = time.monotonic()
                actor.call = actor.handle.evaluate.remote(actor.work)

    def _dispatch_forever(self) -> None:
        try:
            while True:
                with self._change:
                    calls = [actor.call for actor in self._actors if actor.call is not None]
                    if not calls and not self._closed:
                        self._change.wait()
                    if self._closed:
                        return
                if not calls:
                    continue
                ready, _ = ray.wait(calls, timeout=_POLL)
                with self._change:
                    if self._closed:
                        return
                    for index, actor in enumerate(self._actors):
                        if actor.call in ready:
                            self._collect(index, actor)
                        elif actor.work is not None and self._late(actor):
                            self._expire(index, actor, actor.work)
                    self._hand_out()
        except BaseException as error:  # the thread's one way out: whoever waits must hear of it
            self._results.put(error)

    def _late(self, actor: _Actor) -> bool:
        return self._timeout is not None and time.monotonic() - actor.since > self._timeout

    def _collect(self, index: int, actor: _Actor) -> None:
        """An actor's call is over: its result, its exception, or its death."""
        work = actor.work
        try:
            result = ray.get(actor.call)
        except ray.exceptions.RayTaskError as error:
            # evaluate() turns exceptions into results, so this is build() failing, as it would on every worker
            raise error.cause if isinstance(error.cause, UserError) else error from None
        except ray.exceptions.RayError as error:
            self._replace(index, actor)
            if work is None:
                self._failed_starts += 1
                if self._failed_starts >= _FAILED_STARTS:
                    raise RuntimeError(f"{_FAILED_STARTS} workers died while starting: {describe(error)}") from None
                return
            self._deaths[work.key] = self._deaths.get(work.key, 0) + 1
            if self._deaths[work.key] < _DEATHS:
                self._queue.appendleft(work)
            else:
                died = f"the worker died {_DEATHS} times on this candidate ({describe(error)})"
                self._results.put(failed(work, died, time.monotonic() - actor.since))
            return
        actor.call = actor.work = None
        if work is None:
            self._failed_starts = 0
        else:
            self._results.put(result)

    def _expire(self, index: int, actor: _Actor, work: Work) -> None:
        self._replace(index, actor)
        self._results.put(failed(work, f"stopped after {self._timeout:g} s (cluster.timeout)", self._timeout or 0.0))

    def _replace(self, index: int, actor: _Actor) -> None:
        ray.kill(actor.handle)
        self._actors[index] = self._new_actor()


def _connect(address: str | None, workers: int | None, threads: int) -> bool:
    """Join or start Ray; True when it is ours to shut down. A Ray that this process already uses is taken as it is."""
    if ray.is_initialized():
        return False
    logging.getLogger("ray").setLevel(logging.ERROR)  # its remarks on start-up go to stderr otherwise
    quiet: dict[str, Any] = {"log_to_driver": False, "configure_logging": False, "logging_level": logging.ERROR}
    if address is None:
        count = (workers or max(1, available_cores() // threads)) * threads
        ray.init(
            address="local",  # whatever RAY_ADDRESS says
            num_cpus=count,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE,
            **quiet,
        )
    else:
        try:
            _probe(address)
            ray.init(address=address, **quiet)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(
                f"no Ray cluster at '{address}' ({describe(error)}): start one with `ray start --head`, "
                "or leave cluster.address out to run on this machine"
            ) from None
    return True


def _probe(address: str) -> None:
    """Fail at once where nobody listens: Ray would try for minutes. ``auto`` and ``ray://`` are Ray's own business."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _workers(asked: int | None, threads: int, gpu: bool) -> int:
    """How many actors: as asked, or what the cluster has room for."""
    resources = ray.cluster_resources()
    kind, each = ("GPU", 1) if gpu else ("CPU", threads)
    room = int(resources.get(kind, 0)) // each
    if max(asked or 1, 1) > room:
        raise UserError(
            f"cluster.workers={asked or 1} needs {(asked or 1) * each} {kind}s, but Ray has "
            f"{resources.get(kind, 0):g}: ask for fewer workers or threads, or join a larger cluster"
        )
    return asked or room


def _worker_environment(threads: int) -> dict[str, str]:
    """Threads that sleep when they wait: spinning ones slow two processes on the same cores down 7-10 times."""
    passed_on = {k: v for k, v in os.environ.items() if k.startswith(("HF_", "EVOMERGE_", "TRANSFORMERS_", "TQDM_"))}
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "TOKENIZERS_PARALLELISM": "false",
        **passed_on,
    }
