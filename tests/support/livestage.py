"""A real nginx whose workers follow, the load balancer of it, and servers that name themselves."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from luanginx import LuaNginx
from strategies import make_renderer

from lbwatch.balancers.nginx.balancer import Nginx
from lbwatch.balancers.nginx.config_test.local import CopyTester
from lbwatch.balancers.nginx.live.lines import LiveLines
from lbwatch.balancers.nginx.live.program import program
from lbwatch.balancers.nginx.live.push import Push
from lbwatch.balancers.nginx.local import LocalControl
from lbwatch.balancers.template import shipped_templates
from lbwatch.core.model import Applied, Server, Upstream
from lbwatch.core.schedule import ReloadPace
from lbwatch.system.lock import FileLock

NAMES = ("one", "two", "three")


@asynccontextmanager
async def named_servers(*names: str) -> AsyncIterator[dict[str, Server]]:
    """Servers on this machine, each of which answers with its name."""
    async with contextlib.AsyncExitStack() as stack:
        servers = {}
        for name in names:

            async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str = name) -> None:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    await reader.readuntil(b"\r\n\r\n")
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\nConnection: close\r\n\r\n{name}"
                    writer.write(head.encode())
                    await writer.drain()
                writer.close()

            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            stack.push_async_callback(server.wait_closed)
            stack.callback(server.close)
            port = server.sockets[0].getsockname()[1]
            servers[name] = Server(address="127.0.0.1", port=port, container=name, started_ns=1)
        yield servers


def web(*servers: Server, name: str = "web", **values: object) -> tuple[Upstream, ...]:
    """One upstream with these servers, by address."""
    ordered = tuple(sorted(servers, key=lambda each: (each.address, each.port)))
    return (Upstream(name=name, servers=ordered, **values),)


@dataclass
class LiveStage:
    """An nginx with what keeps it in step; *follow* has to run beside."""

    nginx: LuaNginx
    balancer: Nginx
    servers: dict[str, Server]
    lock: FileLock
    folder: Path
    task: asyncio.Task[None] | None = None

    async def apply(self, upstreams: tuple[Upstream, ...]) -> Applied:
        return await self.balancer.apply(upstreams)

    async def settled(self, upstreams: tuple[Upstream, ...], *, within: float = 20.0) -> Applied:
        """Apply as the loop does until the file says it too; returns what came of it, `reloaded` if any of it was."""
        applied = await self.apply(upstreams)
        async with asyncio.timeout(within):
            while not self.balancer.confirmed():
                await asyncio.sleep(0.01)
                again = await self.apply(upstreams)
                applied = replace(again, reloaded=applied.reloaded or again.reloaded)
        return applied

    async def answers(self, upstream: str = "web", n: int = 12) -> set[str]:
        return await asyncio.to_thread(self.nginx.answers, upstream, n)

    async def followed(self, upstreams: tuple[Upstream, ...]) -> None:
        """Wait until all workers could be told of these."""
        await self.until(lambda: self.push.takes(upstreams))

    @property
    def push(self) -> Push:
        """Return what tells the workers."""
        assert self.balancer._live is not None
        return self.balancer._live._push

    async def restart(self, *, template: str = "nginx/upstreams.conf.j2") -> None:
        """Put another lbwatch in the place of the one that was there, which knows nothing; it follows at once."""
        await self.end()
        self.balancer = make_balancer(self.nginx, self.folder, lock=self.lock, template=template)
        self.begin()

    def begin(self) -> None:
        """Listen for nginx's workers."""
        self.task = asyncio.create_task(self.balancer.follow())

    async def end(self) -> None:
        """Listen no more; what ended before is the test's failure."""
        assert self.task is not None
        assert not self.task.done(), f"it ended by itself: {self.task}"
        self.task.cancel()
        await asyncio.wait([self.task])

    async def until(self, condition: Callable[[], bool], *, within: float = 12.0) -> None:
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.01)


def make_balancer(
    nginx: LuaNginx, folder: Path, *, lock: FileLock, required: bool = False, template: str = "nginx/upstreams.conf.j2"
) -> Nginx:
    """What an lbwatch has that was just started."""
    (folder / "test").mkdir(exist_ok=True)

    async def folder_there() -> Path:
        return nginx.output.parent

    lines = LiveLines(program=program(), folder_there=folder_there, required=required)
    control = LocalControl(pidfile=nginx.pidfile, output=nginx.output, command=None, program=nginx.program)
    return Nginx(
        make_renderer(template, folders=[shipped_templates()]),
        output=nginx.output,
        tester=CopyTester((nginx.program,), main=nginx.conf, output=nginx.output, folder=folder / "test"),
        control=control,
        pace=ReloadPace(interval_s=0.1),
        lock=lock,
        lines=lines,
        push=Push(nginx.output.parent, lines=lines, pids=control.serving_pids, epoch=secrets.token_hex(4)),
    )


@asynccontextmanager
async def live_stage(folder: Path, *, version: str, workers: int = 2) -> AsyncIterator[LiveStage]:
    """An nginx that serves one upstream and whose workers follow."""
    async with named_servers(*NAMES) as servers:
        with LuaNginx(folder / "nginx", version=version, workers=workers).start() as nginx:
            lock = FileLock(nginx.output)
            balancer = make_balancer(nginx, folder, lock=lock)
            with lock:
                stage = LiveStage(nginx=nginx, balancer=balancer, servers=servers, lock=lock, folder=folder)
                stage.begin()
                try:
                    yield stage
                finally:
                    await stage.end()
