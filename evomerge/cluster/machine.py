"""Count the cores and the memory that this process may use, within a container's limits (cgroups v1 and v2)."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path


def cores(root: Path = Path("/")) -> int:
    """Number of cores that this process may use: its affinity and its container's quota, rounded down.

    Args:
        root: folder that holds ``/proc`` and the mount points of cgroups.
    """
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quotas = [quota for folder in _cgroups("cpu", root) if (quota := _quota(folder)) is not None]
    return max(1, int(min([own, *quotas])))


def free_memory(root: Path = Path("/")) -> int | None:
    """Bytes that can still be allocated without swapping, on the machine or in its container; None: unknown.

    Cached files count as free: the kernel drops them.
    """
    free = [_fields(root / "proc/meminfo").get("MemAvailable:")]
    free += [_left(folder) for folder in _cgroups("memory", root)]
    known = [amount for amount in free if amount is not None]
    return max(0, min(known)) if known else None


def total_memory() -> int:
    """Bytes of memory of the whole machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def processor(root: Path = Path("/")) -> str:
    """The processor's name."""
    names = [line.partition(":")[2].strip() for line in _lines(root / "proc/cpuinfo") if line.startswith("model name")]
    return next(iter(names), platform.processor() or "unknown")


def _cgroups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of the groups that limit this process, its own first: the limits of outer groups hold, too."""
    of_controller = _own_groups(root)
    group = of_controller.get(controller, of_controller.get(""))
    for line in _lines(root / "proc/self/mountinfo"):
        mounted, _, kind = (part.split() for part in line.partition(" - "))
        named = kind[0] == "cgroup" and controller in kind[-1].split(",")
        if group is None or not (named if controller in of_controller else kind[0] == "cgroup2"):
            continue
        # The mount point may itself be this process's group, as in a container, under another name than the process
        # knows.
        top, folder = mounted[3], root / mounted[4].lstrip("/")
        inside = Path(group).relative_to(top) if Path(group).is_relative_to(top) else Path()
        yield from (folder / path for path in (inside, *inside.parents))
        return


def _own_groups(root: Path) -> dict[str, str]:
    """This process's group by controller; "" stands for version 2, where one group has all controllers."""
    groups: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        groups |= dict.fromkeys(controllers.split(","), group)
    return groups


def _quota(folder: Path) -> float | None:
    """The group's quota of processor time, in cores."""
    if (folder / "cpu.max").is_file():
        quota, _, period = _text(folder / "cpu.max").partition(" ")
    else:
        quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() else None


def _left(folder: Path) -> int | None:
    """Bytes left below the group's limit."""
    files, prefix = ("memory.max", "memory.current"), ""
    if not (folder / files[0]).is_file():
        files, prefix = ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_"
    limit, usage = (_text(folder / file) for file in files)
    if not limit.isdigit() or not usage.isdigit():
        return None
    cached = _fields(folder / "memory.stat")
    return int(limit) - int(usage) + sum(cached.get(f"{prefix}{age}_file", 0) for age in ("active", "inactive"))


def _fields(path: Path) -> dict[str, int]:
    """Numbers by name; meminfo's kilobytes in bytes."""
    rows = [line.split() for line in _lines(path)]
    return {row[0]: int(row[1]) * (1024 if row[2:] == ["kB"] else 1) for row in rows}


def _text(path: Path) -> str:
    return next(iter(_lines(path)), "")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
