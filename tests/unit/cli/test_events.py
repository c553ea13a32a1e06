"""`events`: the engine's stream as people read it."""

import array
import asyncio
import fcntl
import itertools
import os
import signal
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from command import DEADLINE_S, WEB_AS_EXPOSED, command, environment, lbwatch
from fleets import Fleet
from waiting import eventually

from lbwatch.engines.fake import FakeEngine


@asynccontextmanager
async def telling(**settings: object) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command("events", **settings), env=environment(), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_events_are_told_with_what_lbwatch_makes_of_each(engine: FakeEngine, tmp_path: Path) -> None:
    """`docker events` shows what happened; who operates a load balancer asks what came of it."""
    engine.containers.run(name="old", labels=WEB_AS_EXPOSED)
    async with telling(docker_host=engine.url, control_socket=tmp_path / "none") as process:
        await _tell(engine, process)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0


class Lines:
    """What a command prints, without the time that each line begins with."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.all: list[str] = []
        self._process = process

    async def until(self, words: str) -> None:
        """Return once a line has these words."""
        assert self._process.stdout is not None
        async with asyncio.timeout(15):
            while not self.all or words not in self.all[-1]:
                line = await self._process.stdout.readline()
                assert line, f"it ended before {words!r}: {self.all}"
                self.all.append(" ".join(line.decode().split()[1:]))


async def _tell(engine: FakeEngine, process: asyncio.subprocess.Process) -> None:
    lines = Lines(process)
    await lines.until(f"following {engine.url}: 1 container;")
    engine.containers.run(name="db")
    await lines.until("db start ignored: it has no lbwatch.* label")
    engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
    await lines.until("web-1 -> serves upstream web at 172.17.0.4:80")
    engine.containers.run(name="bad", labels={"lbwatch.port": "no"})
    await lines.until("bad -> not routed (bad-label): label lbwatch.port='no'")
    engine.containers.stop("web-1")
    await lines.until("web-1 -> not routed (not-running): it exited with code 0 [upstream web]")
    engine.containers.remove("web-1")
    await lines.until("web-1 -> gone")
    told = [line.split(" ", 1)[1] for line in lines.all if line.startswith("web-1") and "->" not in line]
    assert told == ["create", "connect", "start", "kill (signal 15)", "die", "disconnect", "stop", "destroy"]
    assert not any(line.startswith("old") for line in lines.all), "what was there before is no event"


async def test_events_of_all_engines_and_of_a_swarm_are_told_with_their_names(fleet: Fleet) -> None:
    """Two engines have a `web-1`; and a Swarm says of a service what it says of no task."""
    async with telling(**fleet.settings) as process:
        lines = Lines(process)
        await lines.until("and Swarm swarm: 4 containers;")
        fleet.b.containers.stop("web-1")
        await lines.until("b web-1 -> not routed (not-running): it exited with code 0 [upstream web]")
        assert "b web-1 kill (signal 15)" in lines.all
        fleet.a.containers.stop("web-1")
        await lines.until("a web-1 -> not routed (not-running): it exited with code 0 [upstream web]")
        fleet.swarm.services.scale("api", 1)
        await lines.until("swarm api service update: replicas 2 -> 1")
        await lines.until("-> not routed (draining): its Swarm is about to stop it for good")
        assert lines.all[-1].startswith("swarm api.")
        fleet.swarm.services.scale("quiet", 1)
        await lines.until("swarm quiet service update: replicas 0 -> 1 ignored: it has no lbwatch.* label")
        fleet.swarm.nodes.set_availability("w1", "drain")
        await lines.until("swarm w1 node update: availability active -> drain")


async def test_an_event_of_a_time_that_no_clock_shows_is_told(engine: FakeEngine, tmp_path: Path) -> None:
    """A sick clock, or a sick engine, ended the command; no date goes beyond the year 9999."""

    def late(event: dict[str, Any]) -> tuple[float, ...]:
        event |= next(times)
        return (0.0,)

    times = itertools.cycle(
        [{"time": 253402300800, "timeNano": 0}, {"time": 0, "timeNano": 10**400}, {"time": -(10**30), "timeNano": 0}]
    )
    async with telling(docker_host=engine.url, control_socket=tmp_path / "none") as process:
        assert process.stdout is not None
        async with asyncio.timeout(15):
            assert b"following" in await process.stdout.readline()
            engine.events.delivery = late
            engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
            seen = b""
            while b"serves upstream web" not in seen:
                line = await process.stdout.readline()
                assert line, seen
                seen += line
        assert process.returncode is None
        assert seen.count(b"web-1") >= 4


async def test_events_that_nobody_reads_any_more_end(engine: FakeEngine, tmp_path: Path) -> None:
    """`lbwatch events | head` is how people look at a stream."""
    words = " ".join(map(str, command("events", docker_host=engine.url, control_socket=tmp_path / "none")))
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"set -o pipefail; {words} | head -n 1"),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(15):
        assert b"following" in await process.stdout.readline()
        ending = asyncio.create_task(process.communicate())
        while not ending.done():
            engine.containers.run(labels=WEB_AS_EXPOSED)
            await asyncio.sleep(0.05)
        _, err = await ending
    assert (process.returncode, err) == (0, b"")


async def test_events_that_nobody_reads_are_ended_by_a_stop(engine: FakeEngine, tmp_path: Path) -> None:
    """`lbwatch events | less`: it waits for room in a pipe, and must obey all the same."""
    ours, theirs = os.pipe()
    fcntl.fcntl(theirs, fcntl.F_SETPIPE_SZ, 4096)
    process = await asyncio.create_subprocess_exec(
        *command("events", docker_host=engine.url, control_socket=tmp_path / "none"), env=environment(), stdout=theirs
    )
    os.close(theirs)

    def is_full() -> bool:
        engine.containers.run(labels=WEB_AS_EXPOSED)
        return array.array("i", fcntl.ioctl(ours, termios.FIONREAD, b"0000"))[0] > 4000

    try:
        await eventually(is_full, within=DEADLINE_S, what="the pipe is full")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
    finally:
        os.close(ours)


async def test_events_of_an_engine_that_is_not_there_say_so(tmp_path: Path) -> None:
    """A silent wait would look like a quiet engine."""
    code, out, err = await lbwatch("events", docker_host=f"unix://{tmp_path}/none")
    assert (code, out) == (1, "")
    assert "cannot connect to" in err
