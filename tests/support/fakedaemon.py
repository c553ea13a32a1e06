"""A whole daemon on the fake engine with a simulated nginx."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulation import SimulatedNginx
from statuses import full_picture

from lbwatch.api import server as status
from lbwatch.build import Daemon, build_daemon
from lbwatch.core.status import Status
from lbwatch.daemon import keep_going
from lbwatch.engines.fake import FakeEngine
from lbwatch.settings import Settings

WEB = {"lbwatch.port": "80", "lbwatch.upstream": "web"}


@dataclass
class StillLife:
    """A view that shows always the same."""

    picture: Status = field(default_factory=full_picture)

    def quick_status(self) -> Status:
        return self.picture

    async def look(self) -> Status:
        return self.picture


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Place:
    """Where a status server listens."""

    port: int
    host: str = "127.0.0.1"

    async def opened(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self.host, self.port, **options)

    async def said(self, request: bytes) -> bytes:
        """All that comes until the other side ends the connection: that it does is a promise, too."""
        reader, writer = await self.opened()
        try:
            writer.write(request)
            async with asyncio.timeout(10.0):
                return await reader.read()
        finally:
            writer.close()

    async def get(self, path: str = "/healthz", *, host: str | None = "127.0.0.1", method: str = "GET") -> Answer:
        name = "" if host is None else f"Host: {host}\r\n"
        head, _, body = (await self.said(f"{method} {path} HTTP/1.1\r\n{name}\r\n".encode())).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(status=int(first.split()[1]), headers=headers, body=body)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@asynccontextmanager
async def served(
    view: status.View | None = None, *, hosts: Collection[str] = (), host: str = "127.0.0.1"
) -> AsyncIterator[Place]:
    port = free_port()
    async with status.serving(f"{host}:{port}", hosts=hosts, view=view or StillLife()):
        yield Place(port=port)


@asynccontextmanager
async def running(
    folder: Path, engine: FakeEngine, nginx: SimulatedNginx, **more: Any
) -> AsyncIterator[tuple[Place, Daemon]]:
    """The daemon as `daemon.run` builds it, with its status."""
    settings = Settings(
        docker_host=engine.url,
        output=nginx.output,
        host_network="false",
        state_dir=folder / "state",
        reload_interval=0.1,
        **more,
    )
    async with (
        build_daemon(settings, tester=nginx, control=nginx) as daemon,
        served(daemon) as place,
    ):
        stopped = asyncio.Event()
        task = asyncio.create_task(keep_going(daemon, until=stopped))
        try:
            yield place, daemon
        finally:
            stopped.set()
            await task


async def told(place: Place, path: str, holds: Callable[[Answer], object], *, within: float = 10.0) -> Answer:
    """Ask until the answer is as it should be."""
    deadline = time.monotonic() + within
    while not holds(answer := await place.get(path)):
        assert time.monotonic() < deadline, f"not within {within} s; last: {answer.status} {answer.text}"
        await asyncio.sleep(0.01)
    return answer


def is_ready(answer: Answer) -> bool:
    return answer.status == 200
