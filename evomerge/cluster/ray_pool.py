"""Ray pool: long-lived actors, each of which holds one worker.

The loop over ``ray.wait`` is our own: ray.util.ActorPool drops an actor that died and the work with it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
import ray.exceptions

from evomerge.cluster.base import attempt, describe, failed
from evomerge.cluster.ray_cluster import connect, pool_size, worker_environment
from evomerge.cluster.worker_count import Demand
from evomerge.errors import RunFailed, UserError
from evomerge.types import Done, Lesson, Work, Worker

log = logging.getLogger(__name__)

Spec = TypeVar("Spec")

_POLL = 0.1  # seconds between looks for new work and passed time limits
_DEATHS = 2  # workers that one work may cost before it counts as failed
_LESSON = 12  # evaluations that a lesson may take as long as
_FAILED_STARTS = 3  # workers in a row that died while starting before the pool goes on with fewer


class _Host:
    """The actor. It builds its worker in a call of its own, so that an exception of ``build`` comes back unchanged."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def start(self, build: Callable[[Any], Worker], spec: Any) -> None:
        self._worker = build(spec)

    def evaluate(self, work: Work | Lesson) -> Done:
        assert self._worker is not None
        return attempt(self._worker, work)


@dataclass(eq=False)
class _Actor:
    """One actor: ``call`` is its unfinished call; ``work`` is None while the actor starts or idles."""

    handle: Any
    call: Any
    work: Work | Lesson | None = None
    since: float = 0.0


class RayPool(Generic[Spec]):
    """Evaluates on Ray actors; a thread of this process gives work to an actor as soon as it is free.

    An actor that dies is replaced and its work submitted once more; the second death is a ``Done`` with an error. An
    evaluation that takes longer than ``timeout`` loses its actor and is a ``Done`` with an error. Actors that die
    repeatedly while they start (where memory holds fewer) are given up, and the pool goes on with the others.

    Args:
        spec: what ``build`` makes a worker from; both are pickled.
        build: makes one worker, inside the actor.
        workers: number of actors; by default as many as fit (:func:`evomerge.cluster.worker_count.fit`), with
            ``gpu`` as many as there are GPUs.
        threads: CPU threads per worker; by default the cores that are left over, in a running cluster 1.
        address: ``auto`` or ``host:port`` joins a running cluster, where evomerge must be installed and the models
            reachable under the same names; None starts Ray on this machine for as long as the pool lives.
        memory: bytes that a worker takes, 0 if unknown.
        works: largest number of evaluations at a time.
        gpu: one GPU per worker.
        timeout: seconds per evaluation, None for no limit; a lesson may take 12 times as long. Loading the worker does
            not count.
        environment: more environment variables for the workers.

    Attributes:
        threads: of each worker.

    Raises:
        UserError: the cluster cannot be reached or is too small; :meth:`wait` raises what ``build`` raised.
        RunFailed: raised by :meth:`wait` when no worker is left, since all died while they started.
    """

    def __init__(
        self,
        spec: Spec,
        build: Callable[[Spec], Worker],
        workers: int | None = None,
        threads: int | None = None,
        address: str | None = None,
        *,
        memory: int = 0,
        works: int | None = None,
        gpu: bool = False,
        timeout: float | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._spec, self._build, self._timeout = spec, build, timeout
        demand = Demand(workers, threads, memory, works)
        self._owns_ray = not ray.is_initialized()
        if self._owns_ray:
            connect(address, demand)
        try:
            size, self.threads = pool_size(demand, gpu, local=address is None)
        except BaseException:
            if self._owns_ray:
                ray.shutdown()
            raise
        self._options = {
            "num_cpus": 0 if gpu else self.threads,
            "num_gpus": 1 if gpu else 0,
            "max_restarts": 0,
            "runtime_env": {"env_vars": {**worker_environment(self.threads), **(environment or {})}},
        }
        self._queue: deque[Work | Lesson] = deque()
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

    def submit(self, work: Work | Lesson) -> None:
        with self._change:
            self._queue.append(work)
            self._hand_out()
            self._change.notify()

    def wait(self, timeout: float | None = None) -> list[Done]:
        """All finished evaluations, at least one unless ``timeout`` seconds pass first."""
        finished: list[Done] = []
        with contextlib.suppress(queue.Empty):
            result = self._results.get(timeout=timeout) if timeout != 0 else self._results.get_nowait()
            while isinstance(result, Done):
                finished.append(result)
                result = self._results.get_nowait()
            self._results.put(result)  # Put the final error back, so that later calls of wait() raise it as well
            if not finished:
                raise result
        return finished

    def close(self) -> None:
        """Stop the actors, finished or not, and Ray, if this pool started it."""
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
                    for actor in list(self._actors):
                        if actor.call in ready:
                            self._collect(actor)
                        elif actor.work is not None and time.monotonic() - actor.since > self._limit(actor.work):
                            self._expire(actor, actor.work)
                    self._hand_out()
        except BaseException as error:  # whatever ends this thread, wait() must raise it
            self._results.put(error)

    def _limit(self, work: Work | Lesson) -> float:
        """Seconds that a work may take."""
        return (self._timeout or math.inf) * (_LESSON if isinstance(work, Lesson) else 1)

    def _collect(self, actor: _Actor) -> None:
        """Take the result of an actor's call, its exception, or the actor's death."""
        work = actor.work
        try:
            result = ray.get(actor.call)
        except ray.exceptions.RayTaskError as error:
            # evaluate() turns exceptions into results, so this is from build(), which would fail on every worker
            raise error.cause if isinstance(error.cause, UserError) else error from None
        except ray.exceptions.RayError as error:
            if work is None:
                self._restart(actor, error)
                return
            self._replace(actor)
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

    def _expire(self, actor: _Actor, work: Work | Lesson) -> None:
        self._replace(actor)
        limit = self._limit(work)
        times = f"{_LESSON} x " if isinstance(work, Lesson) else ""
        self._results.put(failed(work, f"stopped after {limit:g} s ({times}cluster.timeout)", limit))

    def _restart(self, actor: _Actor, error: Exception) -> None:
        """Start the actor again, or give it up: the others may hold the memory that it lacked."""
        self._failed_starts += 1
        if self._failed_starts < _FAILED_STARTS:
            self._replace(actor)
            return
        self._actors.remove(actor)
        told = f"{self._failed_starts} workers in a row died while they started ({describe(error)})"
        if not self._actors:
            raise RunFailed(f"{told}, as they do when memory runs out: give fewer cluster.workers or a smaller model")
        log.warning("%s: going on with %d; memory may hold no more", told, len(self._actors))

    def _replace(self, actor: _Actor) -> None:
        ray.kill(actor.handle)
        self._actors[self._actors.index(actor)] = self._new_actor()
