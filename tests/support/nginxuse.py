"""What an nginx, or any program with children, uses: processes, memory, CPU; all from /proc."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")


class Use(NamedTuple):
    """
    What a program and its children use.

    Attributes:
        processes: How many they are.
        pss_mib: Their memory, in which what several share is counted once.
        cpu_s: User and system time of all of them since their start, also of those that have ended.
    """

    processes: int
    pss_mib: float
    cpu_s: float


def use_of(pid: int) -> Use:
    """Return what a process and its children use now."""
    pids = [pid, *children_of(pid)]
    return Use(processes=len(pids), pss_mib=sum(map(_pss_mib, pids)), cpu_s=sum(map(_cpu_s, pids)))


def children_of(pid: int) -> list[int]:
    """Return the pids of a process's children, zombies not among them."""
    children = (int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [child for child in children if _pss_mib(child)]


def _pss_mib(pid: int) -> float:
    with suppress(OSError, StopIteration):  # it ended meanwhile
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return 0.0


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process, and of its children that were waited for, in seconds."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS  # utime, stime, cutime, cstime: proc(5), from the 14th on
    return 0.0
