"""
What every demo needs: a private nginx if there is one, the daemon, the events on the screen.

All of it ends with the context that sets it up.
"""

import asyncio
import socket
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic

import aiohttp

from lbwatch.balancers.nginx.process import find_master
from lbwatch.balancers.nginx.version import Version
from lbwatch.cli.demo.screen import Screen
from lbwatch.core.errors import DemoError, ReloadError
from lbwatch.core.model import Applied, Plan, Upstream
from lbwatch.core.parts import Parts, upstreams_in
from lbwatch.engines.docker.client import EngineClient
from lbwatch.engines.docker.decode import EventDecoder
from lbwatch.reconciler import LoadBalancer
from lbwatch.settings import Settings
from lbwatch.system import files
from lbwatch.system.programs import find_program
from lbwatch.tasks import run_until
from lbwatch.wiring.daemon import build_daemon
from lbwatch.wiring.parts import make_address

STEP_TIMEOUT_S = 15.0

_PAGE_MARK = "# For the demo's page:"

_TEMPLATE = """\
{% include "nginx/upstreams.conf.j2" %}

# For the demo's page: what the running workers have.
map $uri $lbwatch_demo {
    default "{% for upstream in upstreams %}{{ upstream.name }}:
{%- for server in upstream.servers %} {{ server.address }}:{{ server.port }}{% else %} no server{% endfor %}\\n
{%- endfor %}";
}
"""

_NGINX = """\
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/conf.d/*.conf;
    server {{
        listen 127.0.0.1:{port};
        default_type text/plain;
        location / {{ return 200 $lbwatch_demo; }}
    }}
}}
"""


class Watched:
    """
    A load balancer that shows what another one does.

    Args:
        inner: The one that does it.
        screen: Where it is shown.
        output: The file that *inner* writes.
        port: Where the private nginx listens on loopback; `None` without one.

    Attributes:
        in_force: The upstreams last applied; `None` before the first time.
        reloads: What was applied by a reload, in order.
    """

    def __init__(self, inner: LoadBalancer, *, screen: Screen, output: Path, port: int | None) -> None:
        self.in_force: tuple[Upstream, ...] | None = None
        self.reloads: list[Applied] = []
        self._inner = inner
        self._screen = screen
        self._output = output
        self._port = port
        self._applied = asyncio.Condition()

    def confirmed(self) -> bool:
        """See `LoadBalancer`."""
        return self._inner.confirmed()

    async def prepare(self) -> None:
        """See `LoadBalancer`."""
        await self._inner.prepare()

    def limited(self, plan: Plan) -> Plan:
        """See `LoadBalancer`."""
        return self._inner.limited(plan)

    def due(self, parts: Parts, *, now: float, at_once: bool) -> float:
        """See `LoadBalancer`."""
        return self._inner.due(parts, now=now, at_once=at_once)

    def runs(self) -> bool:
        """See `LoadBalancer`."""
        return self._inner.runs()

    def restarted(self) -> bool:
        """See `LoadBalancer`."""
        return self._inner.restarted()

    @property
    def step(self) -> str:
        """See `LoadBalancer`."""
        return self._inner.step

    async def apply(self, parts: Parts) -> Applied:
        """Return what the inner one applied, after showing the difference and how long it took."""
        before = _shown(self._output)
        try:
            applied = await self._inner.apply(parts)
        finally:
            self._screen.difference(before, _shown(self._output))
        if applied.reloaded:
            self.reloads.append(applied)
            await self._show(applied)
        async with self._applied:
            self.in_force = upstreams_in(parts)
            self._applied.notify_all()
        return applied

    async def wait_for_servers(self, servers: dict[str, int]) -> None:
        """Wait until these upstreams with so many servers each are in force, and no others."""

        def reached() -> bool:
            counts = {upstream.name: len(upstream.servers) for upstream in self.in_force or ()}
            return self.in_force is not None and counts == servers

        try:
            async with asyncio.timeout(STEP_TIMEOUT_S), self._applied:
                await self._applied.wait_for(reached)
        except TimeoutError as error:
            raise DemoError(f"the demo waited {STEP_TIMEOUT_S:g} s for {servers} in vain") from error

    async def _show(self, applied: Applied) -> None:
        if self._port is None:
            return
        timing = f"new workers after {applied.live_s * 1000:.1f} ms, old ones retired after"
        self._screen.say("nginx", f"reloaded: {timing} {applied.verified_s * 1000:.0f} ms", style="cyan")
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self._port}/") as answer,
        ):
            for line in (await answer.text()).splitlines():
                self._screen.say("answers", line, style="cyan")


class _NoNginx:
    """A tester and a control in the place of nginx where none is installed: only the file is shown."""

    remark: str | None = None

    async def test(self, text: str) -> bool:  # noqa: ARG002 - a port is a port
        """Return that any text passes."""
        return True

    async def program_version(self) -> Version | None:
        """Return `None`: there is no program."""
        return None

    async def refresh(self) -> None:
        """Do nothing."""

    def doubt(self) -> None:
        """Do nothing."""

    async def reload(self) -> None:
        """Do nothing."""

    async def wait_live(self) -> None:
        """Do nothing."""

    async def wait_retired(self) -> None:
        """Do nothing."""

    def running(self) -> object:
        """Return the same name each time, so that it never seems to be restarted."""
        return "none"

    def latest_start(self) -> object:
        """Return `None`: it never started."""
        return None

    def program(self) -> object:
        """Return `None`: there is none."""
        return None

    async def version(self, tested: Version | None) -> Version | None:
        """Return what is given: there is none."""
        return tested

    async def workers(self) -> tuple[int, int] | None:
        """Return `None`: there are none."""
        return None

    def serving_pids(self) -> frozenset[int] | None:
        """Return `None`: there are none."""
        return None


@asynccontextmanager
async def staged(settings: Settings, folder: Path, screen: Screen) -> AsyncIterator[Watched]:
    """
    Return a load balancer to watch, while a private nginx, if one is installed, and the daemon run.

    Args:
        settings: Of the user; those that would touch the user's own nginx are replaced.
        folder: The demo's own, empty.
        screen: Where events and changes are shown.
    """
    (folder / "conf.d").mkdir()
    (folder / "demo.conf.j2").write_text(_TEMPLATE)
    program = find_program("nginx")
    settings = _private_settings(settings, folder, program)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(_private_nginx(program, folder, screen)) if program else None
        if port is None:
            screen.say(
                "nginx",
                "none is installed here: only the file is shown (apt-get install nginx)",
                style="yellow",
            )
        watched: list[Watched] = []

        def watch(inner: LoadBalancer) -> LoadBalancer:
            watched.append(Watched(inner, screen=screen, output=settings.nginx.output, port=port))
            return watched[0]

        stand_in = None if port else _NoNginx()
        parts = await stack.enter_async_context(build_daemon(settings, watch=watch, tester=stand_in, control=stand_in))
        stopped = asyncio.Event()
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(run_until(parts, until=stopped.wait()), name="daemon")
        events = group.create_task(_show_events(settings, screen), name="events")
        stack.callback(events.cancel)
        stack.callback(stopped.set)
        await watched[0].wait_for_servers({})
        yield watched[0]


def _private_settings(settings: Settings, folder: Path, program: str | None) -> Settings:
    """Return the user's settings without whatever would touch or hide something outside the demo's *folder*."""
    nginx = replace(
        settings.nginx,
        template=str(folder / "demo.conf.j2"),
        output=folder / "conf.d/lbwatch.conf",
        nginx_pidfile=folder / "nginx.pid",
        nginx_conf=folder / "nginx.conf",
        nginx_command=program or "nginx",
        nginx_container=None,
        test_command=None,
        reload_command=None,
        reload_interval=min(settings.nginx.reload_interval, 0.5),
    )
    routing = replace(settings.routing, expose="labelled", networks=(), declare=(), state_dir=folder / "state")
    return replace(settings, nginx=nginx, routing=routing)


@asynccontextmanager
async def _private_nginx(program: str, folder: Path, screen: Screen) -> AsyncIterator[int]:
    """Return the loopback port of a private nginx, which runs as long as the context lasts."""
    port = _free_port()
    conf = folder / "nginx.conf"
    conf.write_text(_NGINX.format(folder=folder, port=port))
    files.replace(folder / "conf.d/lbwatch.conf", text=f'{_PAGE_MARK}\nmap $uri $lbwatch_demo {{ default ""; }}\n')
    process = await asyncio.create_subprocess_exec(
        program,
        "-c",
        str(conf),
        "-e",
        str(folder / "error.log"),
        "-g",
        "daemon off;",
        stdin=DEVNULL,
        stderr=DEVNULL,
    )
    try:
        await _until_master(folder / "nginx.pid")
        screen.say("nginx", f"a private one: http://127.0.0.1:{port}/ shows what its workers have", style="bold")
        yield port
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _until_master(pidfile: Path) -> None:
    deadline = monotonic() + STEP_TIMEOUT_S
    while True:
        try:
            find_master(pidfile)
            return
        except ReloadError:
            if monotonic() > deadline:
                raise
            await asyncio.sleep(0.01)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _show_events(settings: Settings, screen: Screen) -> None:
    """Print the engine's events as they arrive, by a subscription of the demo's own."""
    client = EngineClient(make_address(settings))
    names: dict[str, str] = {}
    decoder = EventDecoder()
    try:
        await client.ping()
        async with client.events(since_s=None) as chunks:
            async for chunk in chunks:
                for event in decoder.feed(chunk):
                    id = event.container or ""
                    names.setdefault(id, (event.labels or {}).get("name", id[:12]))
                    screen.say("event", f"{event.action} {names[id]}", style="blue")
    finally:
        await client.close()


def _shown(output: Path) -> str:
    """Return the part of the output that any user would get."""
    return (files.read(output) or "").partition(_PAGE_MARK)[0].rstrip("\n")
