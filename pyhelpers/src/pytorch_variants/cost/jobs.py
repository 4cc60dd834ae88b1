"""How many compilers a machine's memory bears."""

import re

# What the machine has, and what a control group may use of it, in versions 2 and 1.
MEMORY = ("/proc/meminfo", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def compiler_jobs(cores: int, memory: float | None, memory_per_job: int) -> int:
    """How many compilers run at once, as lib/internal/maxJobsHook.nix bounds them; memory in GiB."""
    return cores if memory is None else max(1, min(cores, int(memory / memory_per_job)))


def available_memory(meminfo: str, *limits: str) -> float | None:
    """GiB that /proc/meminfo calls available, or the least of a control group's limits; None if none says.

    The rule of lib/internal/maxJobsHook.nix. A limit is a number of bytes, or "max" for none.
    """
    found = re.findall(r"^MemAvailable: *([0-9]+) kB$", meminfo, re.MULTILINE)
    sizes = [int(kilobytes) / 2**20 for kilobytes in found]
    sizes += [int(limit) / 2**30 for limit in limits if limit.strip().isdecimal()]
    return min(sizes, default=None)
