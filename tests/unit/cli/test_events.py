"""`events`: the engine's stream as people read it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from command import WEB_AS_EXPOSED, command, environment, lbwatch

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


async def _tell(engine: FakeEngine, process: asyncio.subprocess.Process) -> None:
    lines: list[str] = []

    async def until(words: str) -> None:
        assert process.stdout is not None
        async with asyncio.timeout(15):
            while not lines or words not in lines[-1]:
                line = await process.stdout.readline()
                assert line, f"it ended before {words!r}: {lines}"
                lines.append(" ".join(line.decode().split()[1:]))

    await until(f"following {engine.url}: 1 containers")
    engine.containers.run(name="db")
    await until("db start ignored: it has no lbwatch.* label")
    engine.containers.run(name="web-1", labels=WEB_AS_EXPOSED)
    await until("web-1 -> serves upstream web at 172.17.0.4:80")
    engine.containers.run(name="bad", labels={"lbwatch.port": "no"})
    await until("bad -> not routed (bad-label): label lbwatch.port='no'")
    engine.containers.stop("web-1")
    await until("web-1 -> not routed (not-running): it is exited [upstream web]")
    engine.containers.remove("web-1")
    await until("web-1 -> gone")
    told = [line.split(" ", 1)[1] for line in lines if line.startswith("web-1") and "->" not in line]
    assert told == ["create", "connect", "start", "kill (signal 15)", "die", "disconnect", "stop", "destroy"]
    assert not any(line.startswith("old") for line in lines), "what was there before is no event"


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


async def test_events_of_an_engine_that_is_not_there_say_so(tmp_path: Path) -> None:
    """A silent wait would look like a quiet engine."""
    code, out, err = await lbwatch("events", docker_host=f"unix://{tmp_path}/none")
    assert (code, out) == (1, "")
    assert "cannot connect to" in err
