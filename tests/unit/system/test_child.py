"""A program that runs beside lbwatch and never outlives it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import eventually

from lbwatch.system.child import MAX_LINES, Child

_KEEPS_ONE = """
import asyncio, sys
from lbwatch.system.child import Child
async def main():
    child = await Child.start("sleep", "600")
    print(child.pid, flush=True)
    await child.ended()
asyncio.run(main())
"""


def is_alive(pid: int) -> bool:
    """Return whether a process runs: one that nobody has reaped yet has no command line."""
    path = Path(f"/proc/{pid}/cmdline")
    return path.exists() and path.read_bytes() != b""


async def test_it_ends_with_a_parent_that_is_killed() -> None:
    """A killed lbwatch ends nothing itself: what it leaves would hold connections to an engine for good."""
    with subprocess.Popen([sys.executable, "-c", _KEEPS_ONE], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        await eventually(lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00600\x00", what="that it runs")
        parent.kill()
    await eventually(lambda: not is_alive(pid), what="its end")


async def test_it_ends_with_all_that_it_started(tmp_path: Path) -> None:
    """ssh may have another program make its connection."""
    child = await Child.start("sh", "-c", f"sleep 600 & echo $! > {tmp_path}/pid; wait")
    pid = int(await eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    assert child.runs
    await child.end()
    assert not child.runs
    await eventually(lambda: not is_alive(pid), what="the end of what it started")


async def test_one_that_takes_no_notice_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop of lbwatch waits for nobody."""
    monkeypatch.setattr("lbwatch.system.child.END_S", 0.1)
    child = await Child.start("sh", "-c", "trap '' TERM; echo ready >&2; while :; do sleep 600; done")
    await eventually(child.lines)
    await child.end()
    assert await child.ended() == -signal.SIGKILL


async def test_its_latest_lines_are_kept_and_a_long_one_is_cut() -> None:
    """What it says in the end is why it ended; what it prints without end fills no memory."""
    script = (
        f"i=0; while [ $i -lt {2 * MAX_LINES} ]; do i=$((i+1)); echo line $i >&2; done; printf '%09999d' 0 >&2; exit 3"
    )
    child = await Child.start("sh", "-c", script)
    assert await child.ended() == 3
    lines = await eventually(lambda: child.lines()[-1:] == ["0" * 512] and child.lines())
    assert len(lines) == MAX_LINES
    assert lines[-2] == f"line {2 * MAX_LINES}"
    assert child.lines(since=asyncio.get_running_loop().time() + 1) == []
    await child.end()


async def test_an_end_leaves_no_descriptor_behind() -> None:
    """It is started anew for as long as the other end is away."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        child = await Child.start("true")
        await child.ended()
        await child.end()
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 1, what="descriptors given back")
    assert not child.runs
