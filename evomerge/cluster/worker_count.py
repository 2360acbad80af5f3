"""Decide how many workers a machine is cut into, and how many threads each of them gets."""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.errors import UserError


@dataclass(frozen=True)
class Demand:
    """Demand on a pool.

    Attributes:
        workers: number of workers; None: as many as fit.
        threads: threads of each worker; None: the cores that are left over.
        memory: bytes that a worker takes at its peak; 0: unknown.
        works: largest number of evaluations at a time; None: unknown.

    Raises:
        UserError: less than one worker or thread.
    """

    workers: int | None = None
    threads: int | None = None
    memory: int = 0
    works: int | None = None

    def __post_init__(self) -> None:
        for key in ("workers", "threads"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"cluster.{key} must be at least 1, got {value}: leave it out to use the whole machine")


def fit(demand: Demand, cores: int, memory: int | None) -> tuple[int, int]:
    """Number of workers, and of threads of each.

    Workers with one thread use cores best, so there are as many as cores, memory and work allow; cores that are left
    over become threads.

    >>> fit(Demand(), cores=8, memory=None), fit(Demand(works=3), 8, None), fit(Demand(memory=5), 8, 12)
    ((8, 1), (3, 2), (2, 4))
    """
    if demand.workers is not None:
        workers = demand.workers
    else:
        bounds = [cores // (demand.threads or 1)]
        if demand.memory and memory is not None:
            bounds.append(memory // demand.memory)
        if demand.works is not None:
            bounds.append(demand.works)
        workers = max(1, min(bounds))
    return workers, demand.threads or max(1, cores // workers)
