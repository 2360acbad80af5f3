"""Settings of a pool of workers; light, without Ray."""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.errors import UserError, nearest

POOLS = ("ray", "serial")


@dataclass(frozen=True)
class ClusterSettings:
    """The keys of ``cluster``: where candidates are scored.

    Attributes:
        kind: ``ray``, or ``serial`` for this process.
        workers: number of workers; None: one per GPU, else as many as cores, memory and the work allow.
        threads: CPU threads of each worker; None: the cores that are left over.
        address: of a running Ray cluster, ``auto`` or ``host:port``; None starts Ray on this machine.
        timeout: seconds after which an evaluation fails.

    Raises:
        UserError: an unknown kind, or a number out of range.
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
