"""A whole daemon on the fake engine with a simulated nginx."""

import asyncio
import contextlib
import json
import re
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog
from simulation import SimulatedNginx
from statuses import full_status
from usersettings import settings_with

from lbwatch.api.application import View, make_application
from lbwatch.api.client import request
from lbwatch.api.control import ControlService
from lbwatch.api.protection import Protection
from lbwatch.api.server import serving
from lbwatch.core.explain import Explanation
from lbwatch.core.history import AppliedPlan
from lbwatch.core.model import Container, Plan, Route, Suspended, Upstream
from lbwatch.core.status import Status
from lbwatch.engines.fake import FakeEngine
from lbwatch.system.state import State
from lbwatch.tasks import run_until
from lbwatch.wiring.access import NOT_LIVE
from lbwatch.wiring.daemon import Daemon, build_daemon

WEB = {"lbwatch.port": "80", "lbwatch.upstream": "web"}

ROUTES = ("/healthz", "/readyz", "/metrics", "/api/state", "/", "/container")
"""Those that are answered by TCP; the page of a container is 404 where none is named."""


@dataclass
class FixedView:
    """A view that shows always the same."""

    shown: Status = field(default_factory=full_status)

    def quick_status(self) -> Status:
        return self.shown

    async def status(self) -> Status:
        return self.shown


class FixedLoop:
    """Knows its containers, and is settled or never will be."""

    def __init__(self, *containers: Container, settles: bool = True, upstreams: tuple[Upstream, ...] = ()) -> None:
        self.upstreams = upstreams
        self.known: tuple[Container, ...] | None = containers
        self.settles = settles
        self.planner = SimpleNamespace(suspended=Suspended())

    def containers(self) -> tuple[Container, ...] | None:
        return self.known

    def applied(self) -> AppliedPlan:
        return AppliedPlan(plan=None if self.known is None else Plan(upstreams=self.upstreams))

    async def settled(self) -> tuple[Route, ...]:
        if not self.settles:
            await asyncio.Event().wait()
        return ()


async def unasked(container: Container | None) -> Explanation:
    raise AssertionError(f"nobody asks for {container}")


def fixed_service(
    state: State, *containers: Container, settles: bool = True, upstreams: tuple[Upstream, ...] = ()
) -> ControlService:
    """A service of which nobody asks more than to drain these containers, or pause these, and nothing comes of it."""
    return ControlService(state, loop=FixedLoop(*containers, settles=settles, upstreams=upstreams), explain=unasked)


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
class Client:
    """Where a server listens, by TCP unless it has a unix *socket*."""

    port: int = 0
    host: str = "127.0.0.1"
    socket: Path | None = None

    async def opened(self, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.socket is not None:
            return await asyncio.open_unix_connection(self.socket, **options)
        return await asyncio.open_connection(self.host, self.port, **options)

    async def exchange(self, sent: bytes) -> bytes:
        """All that comes until the other side ends the connection: that it does is a promise, too."""
        reader, writer = await self.opened()
        try:
            writer.write(sent)
            async with asyncio.timeout(10.0):
                return await reader.read()
        finally:
            writer.close()

    async def get(self, path: str = "/healthz", *, host: str | None = "127.0.0.1", method: str = "GET") -> Answer:
        name = "" if host is None else f"Host: {host}\r\n"
        head, _, body = (await self.exchange(f"{method} {path} HTTP/1.1\r\n{name}\r\n".encode())).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(status=int(first.split()[1]), headers=headers, body=body)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@asynccontextmanager
async def served(
    view: View | None = None,
    *,
    listen: str | None = None,
    hosts: Collection[str] = (),
    service: ControlService | None = None,
    control_socket: Path | None = None,
    protection: Protection | None = None,
) -> AsyncIterator[Client]:
    """The server, by TCP at a free port and at a unix socket, of what shows always the same and drains nothing."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        service = service or fixed_service(State(folder))
        password = protection and protection.password
        application = make_application(view or FixedView(), service=service, hosts=hosts, password=password)
        listen = f"127.0.0.1:{port}" if listen is None else listen
        control_socket = control_socket or folder / "control"
        async with serving(application, listen=listen, control_socket=control_socket, protection=protection):
            yield Client(port=port)


@asynccontextmanager
async def listening(path: Path, *, service: ControlService) -> AsyncIterator[None]:
    """The same at a unix socket alone."""
    async with served(listen="", service=service, control_socket=path):
        yield


@asynccontextmanager
async def running(
    folder: Path,
    engine: FakeEngine,
    nginx: SimulatedNginx,
    *,
    hold_refusal: Callable[[], str | None] = lambda: NOT_LIVE,
    **more: Any,
) -> AsyncIterator[tuple[Client, Daemon]]:
    """The daemon as `daemon.run` builds it, with its server; the control socket is `settings.api.control_socket`."""
    settings = settings_with(
        docker_host=engine.url,
        output=nginx.output,
        host_network="false",
        state_dir=folder / "state",
        control_socket=folder / "run" / "lbwatch.sock",
        reload_interval=0.1,
        **more,
    )
    async with build_daemon(settings, tester=nginx, control=nginx, hold_refusal=hold_refusal) as daemon:
        service = ControlService(daemon.state, loop=daemon.reconciler, explain=daemon.explain)
        async with served(daemon, service=service, control_socket=settings.api.control_socket) as client:
            stopped = asyncio.Event()
            task = asyncio.create_task(run_until(daemon, until=stopped.wait()))
            try:
                yield client, daemon
            finally:
                stopped.set()
                await task


@dataclass(kw_only=True)
class DrainStage:
    """A daemon that drains, and what it keeps in step."""

    socket: Path
    nginx: SimulatedNginx
    state: State
    daemon: Daemon

    def servers(self) -> list[str]:
        return re.findall(r"server ([0-9.]+):", self.nginx.runs or "")

    async def drain(self, container: str) -> str:
        return await request(self.socket, verb="drain", container=container)

    async def undrain(self, container: str) -> str:
        return await request(self.socket, verb="undrain", container=container)

    async def pause(self, upstream: str) -> str:
        return await request(self.socket, verb="pause", upstream=upstream)

    async def resume(self, upstream: str) -> str:
        return await request(self.socket, verb="resume", upstream=upstream)

    def waits(self) -> dict[str, tuple[bool, float]]:
        """By upstream in force, whether it is paused, and how long its requests wait."""
        return {each.name: (each.paused, each.hold_s) for each in self.daemon.reconciler.applied().in_force or ()}


@asynccontextmanager
async def drain_stage(
    folder: Path, engine: FakeEngine, nginx: SimulatedNginx, **more: Any
) -> AsyncIterator[DrainStage]:
    """The daemon once all that there is in the engine is in force."""
    async with running(folder, engine, nginx, **more) as (_, daemon):
        async with asyncio.timeout(10.0):
            await daemon.reconciler.settled()
        yield DrainStage(socket=daemon.settings.api.control_socket, nginx=nginx, state=daemon.state, daemon=daemon)


@contextmanager
def warned() -> Iterator[list[str]]:
    """The names of the warnings and errors that are logged, known at the end."""
    names: list[str] = []
    with structlog.testing.capture_logs() as logs:
        yield names
    names += [log["event"] for log in logs if log["log_level"] in ("warning", "error")]


async def ended(reader: asyncio.StreamReader, *, within: float = 10.0) -> bytes:
    """What came until the other side ended the connection; whether by a reset or not does not matter."""
    received = b""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(within):
            while chunk := await reader.read(65536):
                received += chunk
    return received


async def asked_until(client: Client, path: str, holds: Callable[[Answer], object], *, within: float = 10.0) -> Answer:
    """Ask until the answer is as it should be."""
    deadline = time.monotonic() + within
    while not holds(answer := await client.get(path)):
        assert time.monotonic() < deadline, f"not within {within} s; last: {answer.status} {answer.text}"
        await asyncio.sleep(0.01)
    return answer


def is_ready(answer: Answer) -> bool:
    return answer.status == 200
