"""Number of workers and threads, from the limits of machine, container and work."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from evomerge.cluster.machine import cores, free_memory
from evomerge.cluster.worker_count import Demand, fit
from evomerge.errors import UserError

GB = 1024**3


@pytest.mark.parametrize(
    ("demand", "machine", "expected"),
    [
        (Demand(), (2, 16 * GB), (2, 1)),
        (Demand(memory=3 * GB), (2, 16 * GB), (2, 1)),
        (Demand(memory=10 * GB), (8, 32 * GB), (3, 2)),
        (Demand(memory=10 * GB), (8, None), (8, 1)),
        (Demand(memory=100 * GB), (8, 32 * GB), (1, 8)),
        (Demand(works=1), (8, 32 * GB), (1, 8)),
        (Demand(works=3), (8, 32 * GB), (3, 2)),
        (Demand(works=40), (8, 32 * GB), (8, 1)),
        (Demand(threads=4), (8, 32 * GB), (2, 4)),
        (Demand(threads=16), (8, 32 * GB), (1, 16)),
        (Demand(workers=2), (8, 32 * GB), (2, 4)),
        (Demand(workers=16, memory=10 * GB, works=1), (8, 32 * GB), (16, 1)),  # as asked
        (Demand(workers=3, threads=1), (8, 32 * GB), (3, 1)),
    ],
)
def test_fit(demand: Demand, machine: tuple[int, int | None], expected: tuple[int, int]) -> None:
    assert fit(demand, *machine) == expected


@pytest.mark.parametrize("key", ["workers", "threads"])
def test_less_than_one_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf"cluster\.{key} must be at least 1, got 0"):
        Demand(**{key: 0})


def lay_out(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = "MemTotal: 67108864 kB\nMemAvailable: 33554432 kB\n"
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 {top} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
V1_LIMITS = {
    "cpu.cfs_quota_us": "100000\n",
    "cpu.cfs_period_us": "100000\n",
    "memory.limit_in_bytes": f"{8 * GB}\n",
    "memory.usage_in_bytes": f"{5 * GB}\n",
    "memory.stat": f"cache 7\ninactive_file 1\ntotal_inactive_file {GB}\ntotal_active_file {GB}\n",
}


def v1(folder: str) -> dict[str, str]:
    places = {"cpu": "sys/fs/cgroup/cpu,cpuacct", "memory": "sys/fs/cgroup/memory"}
    return {f"{places[name.partition('.')[0]]}{folder}/{name}": text for name, text in V1_LIMITS.items()}


LIMITED = {
    "a container of version 2": {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": V2,
        "sys/fs/cgroup/cpu.max": "100000 100000\n",
        "sys/fs/cgroup/memory.max": f"{8 * GB}\n",
        "sys/fs/cgroup/memory.current": f"{5 * GB}\n",
        "sys/fs/cgroup/memory.stat": f"anon 1\ninactive_file {GB}\nactive_file {GB}\n",
    },
    "a limit of an outer group": {
        "proc/self/cgroup": "0::/user.slice/job/step\n",
        "proc/self/mountinfo": V2,
        "sys/fs/cgroup/user.slice/job/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/user.slice/job/memory.max": f"{8 * GB}\n",
        "sys/fs/cgroup/user.slice/job/memory.current": f"{3 * GB}\n",
        "sys/fs/cgroup/user.slice/job/step/cpu.max": "max 100000\n",
        "sys/fs/cgroup/user.slice/job/step/memory.max": "max\n",
    },
    "a group of version 1": {
        "proc/self/cgroup": "5:memory:/jobs/7\n4:cpu,cpuacct:/jobs/7\n1:name=systemd:/\n0::/\n",
        "proc/self/mountinfo": V1.format(top="/"),
        **v1("/jobs/7"),
    },
    "a container of version 1, whose group is mounted": {
        "proc/self/cgroup": "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/system.slice\n",
        "proc/self/mountinfo": V1.format(top="/docker/abc"),
        **v1(""),
    },
}


@pytest.mark.parametrize("files", LIMITED.values(), ids=LIMITED)
def test_limits_of_containers(tmp_path: Path, files: dict[str, str]) -> None:
    root = lay_out(tmp_path, {"proc/meminfo": MEMINFO, **files})
    assert cores(root) == 1
    assert free_memory(root) == 5 * GB


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2},
        {
            "proc/self/cgroup": "5:memory:/\n4:cpu,cpuacct:/\n0::/\n",
            "proc/self/mountinfo": V1.format(top="/"),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "4096\n",
        },
    ],
    ids=["no groups", "version 2", "version 1"],
)
def test_without_limits_the_machine_counts(tmp_path: Path, files: dict[str, str]) -> None:
    root = lay_out(tmp_path, {"proc/meminfo": MEMINFO, **files})
    assert cores(root) == len(os.sched_getaffinity(0))
    assert free_memory(root) == 32 * GB
    assert free_memory(tmp_path / "elsewhere") is None


def test_a_real_group(request: pytest.FixtureRequest) -> None:
    """Version 1's, where this process may make one."""
    groups = [Path(f"/sys/fs/cgroup/{kind}/evomerge-test-{os.getpid()}") for kind in ("cpu", "memory")]
    try:
        for group in groups:
            group.mkdir()
            request.addfinalizer(group.rmdir)
        (groups[0] / "cpu.cfs_quota_us").write_text("50000")
        (groups[1] / "memory.limit_in_bytes").write_text(str(256 * 1024**2))
    except OSError as error:
        pytest.skip(f"no cgroup of version 1 can be made here: {error}")
    code = "from evomerge.cluster.machine import cores, free_memory; print(cores(), free_memory())"
    join = "".join(f"echo $$ > {group}/cgroup.procs; " for group in groups)
    told = subprocess.run(["sh", "-c", f'{join} exec "$0" -c "{code}"', sys.executable], capture_output=True, text=True)
    own, free = told.stdout.split()
    assert own == "1" and 0 < int(free) < 256 * 1024**2, told.stderr
