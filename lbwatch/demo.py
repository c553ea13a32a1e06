"""
Shows the main job: containers come, go and move, and a file and a private nginx follow.

On the embedded engine by default; with a real one, the walk of Docker's documentation: create, start, see it routed,
remove. Everything is private to the demo and put away at its end.
"""

import asyncio
import difflib
import os
import signal
import socket
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
from rich.console import Console
from rich.text import Text

from lbwatch import app, files
from lbwatch.decode import EventDecoder
from lbwatch.docker.client import EngineClient
from lbwatch.embedded import EmbeddedEngine
from lbwatch.errors import DemoError, LbwatchError, ReloadError, SourceError
from lbwatch.model import Applied, Upstream
from lbwatch.nginx.control import find_program
from lbwatch.nginx.process import find_master
from lbwatch.reconcile import LoadBalancer
from lbwatch.settings import Settings, engine_address

STEP_TIMEOUT_S = 15.0
STEP_PAUSE_S = 1.2
REAL_PREFIX = "lbwatch-demo"
"""Not `lbwatch`: a daemon that follows the same engine must not route the demo's container."""

_PAGE_MARK = "# For the demo's page:"

_TEMPLATE = """\
{% include "nginx/upstreams.conf.j2" %}

# For the demo's page: what the running workers were told.
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


async def run(settings: Settings, *, real: bool, image: str | None) -> int:
    """
    Run the demo to its end, or until SIGTERM or Ctrl-C.

    Raises:
        DemoError: A step did not come out.
    """
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    screen = Screen(_Console(highlight=False))
    try:
        with tempfile.TemporaryDirectory(prefix="lbwatch-demo-") as name:
            folder = Path(name)
            await (_on_real(settings, folder, screen, image) if real else _on_embedded(settings, folder, screen))
    except BaseExceptionGroup as group:
        told, _ = group.split(LbwatchError)
        if told is None:
            raise
        raise _first(told) from group
    except asyncio.CancelledError:
        task.uncancel()
        screen.say("stopped", "everything is put away", style="bold")
    return 0


def _first(group: BaseExceptionGroup[LbwatchError]) -> LbwatchError:
    """Find the error in the groups that task groups put around it."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


class _Console(Console):
    """A console that fails as all else does when nobody reads it any more (`lbwatch demo | head`)."""

    def on_broken_pipe(self) -> None:
        """See `Console`, which would end the process here."""
        raise DemoError("nobody reads what the demo prints any more")


class Screen:
    """What the user sees: a kind at the left, words at the right."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def say(self, kind: str, words: str, *, style: str = "") -> None:
        """Print one line."""
        self._console.print(Text.assemble((f"{kind:>8}  ", "dim"), (words, style)), soft_wrap=True)

    async def step(self, words: str) -> None:
        """Print what is done next, as a command; on a terminal after a while, since a person reads along."""
        await asyncio.sleep(STEP_PAUSE_S if self._console.is_terminal else 0)
        self._console.print()
        self.say("$", words, style="bold")

    def difference(self, before: str, after: str) -> None:
        """Print which lines of the file went and came."""
        lines = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
        for line in lines:
            if line.startswith(("---", "+++", "@@")) or line in ("+", "-"):
                continue
            self.say("file", line, style="green" if line.startswith("+") else "red")


class Watched:
    """A load balancer that shows what another one does."""

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

    async def apply(self, upstreams: tuple[Upstream, ...]) -> Applied:
        """Have it done, then show the difference and how long it took."""
        before = _shown(self._output)
        try:
            applied = await self._inner.apply(upstreams)
        finally:
            self._screen.difference(before, _shown(self._output))
        if applied.reloaded:
            self.reloads.append(applied)
            await self._show(applied)
        async with self._applied:
            self.in_force = upstreams
            self._applied.notify_all()
        return applied

    async def reach(self, servers: dict[str, int]) -> None:
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
    """Stands for nginx where none is installed: the file is all there is to see."""

    async def reload(self) -> None:
        """Do nothing."""

    async def wait_live(self) -> None:
        """Do nothing."""

    async def wait_retired(self) -> None:
        """Do nothing."""

    def running(self) -> object:
        """Name the same nothing each time."""
        return "none"


async def _on_embedded(settings: Settings, folder: Path, screen: Screen) -> None:
    screen.say("engine", "embedded: no Docker is needed and none is touched", style="bold")
    async with EmbeddedEngine(socket=folder / "docker.sock") as engine:
        settings = replace(settings, docker_host=engine.url, label_prefix="lbwatch")
        async with _stage(settings, folder, screen) as watched:
            for words, action, servers in _steps(engine.world):
                await screen.step(words)
                action()
                await watched.reach(servers)
        await screen.step("that was all")
        asked = sum(count for call, count in engine.requests.items() if call == "GET /containers/ID/json")
        screen.say(
            "summary",
            f"{len(watched.reloads)} reloads, {asked} inspects, the file and nginx in step after each",
        )


def _steps(world: Any) -> list[tuple[str, Callable[[], object], dict[str, int]]]:
    """List the demo's acts: what a user would type, what it does, and how many servers each upstream has then."""
    web = {"lbwatch.upstream": "web", "lbwatch.port": "8080"}
    api = {"lbwatch.upstream": "api", "lbwatch.port": "9000", "lbwatch.weight": "5"}
    return [
        (
            "docker run --name web-1 -l lbwatch.upstream=web -l lbwatch.port=8080 app",
            lambda: world.run(name="web-1", labels=web),
            {"web": 1},
        ),
        (
            "docker run --name db app; docker run --name web-2 -l lbwatch.upstream=web ... # db asks for nothing",
            lambda: (world.run(name="db"), world.run(name="web-2", labels=web)),
            {"web": 2},
        ),
        (
            "docker run --name api-1 -l lbwatch.upstream=api -l lbwatch.port=9000 -l lbwatch.weight=5 app",
            lambda: world.run(name="api-1", labels=api),
            {"api": 1, "web": 2},
        ),
        (
            "docker network connect front web-1 && docker network disconnect bridge web-1   # it moves",
            lambda: (
                world.create_network("front"),
                world.connect("web-1", "front"),
                world.disconnect("web-1", "bridge"),
                world.run(name="api-2", labels=api),
            ),
            {"api": 2, "web": 2},
        ),
        ("docker stop web-2   # a removal does not wait", lambda: world.stop("web-2"), {"api": 2, "web": 1}),
        (
            "docker pause web-1   # nobody left: nginx answers 502",
            lambda: world.pause("web-1"),
            {"api": 2, "web": 0},
        ),
        ("docker unpause web-1", lambda: world.unpause("web-1"), {"api": 2, "web": 1}),
        (
            "docker rm -f web-1 web-2 api-1 api-2",
            lambda: [world.remove(name, force=True) for name in ("web-1", "web-2", "api-1", "api-2")],
            {},
        ),
    ]


async def _on_real(settings: Settings, folder: Path, screen: Screen, image: str | None) -> None:
    address = engine_address(settings.docker_host, environ=os.environ)
    client = EngineClient(address)
    name = f"lbwatch-demo-{os.getpid()}"
    try:
        ping = await client.ping()
        screen.say("engine", f"{address.name}, API {'.'.join(map(str, ping.api))}", style="bold")
        chosen = image or await _small_image(client)
        labels = {f"{REAL_PREFIX}.upstream": "demo", f"{REAL_PREFIX}.port": "80"}
        private = replace(settings, label_prefix=REAL_PREFIX)
        async with _stage(private, folder, screen) as watched:
            await watched.reach({})
            try:
                await _walk(client, watched, screen, name=name, body={"Image": chosen, "Labels": labels})
            finally:
                with suppress(SourceError):  # it may be gone, or was never there
                    await client.call("DELETE", f"/containers/{name}", query={"force": "1"})
    finally:
        await client.close()
    await screen.step("that was all")
    screen.say("summary", "created, started, routed, removed; your own nginx was not touched")


async def _walk(client: EngineClient, watched: Watched, screen: Screen, *, name: str, body: dict[str, Any]) -> None:
    """Create, start and remove a container through the API, and see it come and go."""
    body = body | {"Tty": True, "OpenStdin": True}  # a shell, which many images begin with, stays for more to read
    await screen.step(f"POST /containers/create?name={name}   # image {body['Image']}")
    made = await client.call("POST", "/containers/create", query={"name": name}, body=body)
    await screen.step(f"POST /containers/{made['Id'][:12]}/start")
    await client.call("POST", f"/containers/{made['Id']}/start")
    try:
        await watched.reach({"demo": 1})
    except DemoError as error:
        raise DemoError(f"{error}; an image that ends at once cannot be shown: name another with --image") from error
    await screen.step(f"DELETE /containers/{made['Id'][:12]}?force=1")
    await client.call("DELETE", f"/containers/{made['Id']}", query={"force": "1"})
    await watched.reach({})


async def _small_image(client: EngineClient) -> str:
    """Choose the smallest image at hand that has a name: nothing is pulled."""
    images = await client.call("GET", "/images/json")
    named = [image for image in images or () if (image.get("RepoTags") or ["<none>:<none>"])[0] != "<none>:<none>"]
    if not named:
        raise DemoError("this engine has no image to run: docker pull busybox, or name one with --image")
    return str(min(named, key=lambda image: int(image.get("Size", 0)))["RepoTags"][0])


@asynccontextmanager
async def _stage(settings: Settings, folder: Path, screen: Screen) -> AsyncIterator[Watched]:
    """Set up what every demo needs: a private nginx if there is one, the daemon, and the events on the screen."""
    (folder / "conf.d").mkdir()
    (folder / "demo.conf.j2").write_text(_TEMPLATE)
    program = find_program("nginx")
    settings = replace(
        settings,
        template=str(folder / "demo.conf.j2"),
        output=folder / "conf.d/lbwatch.conf",
        nginx_pidfile=folder / "nginx.pid",
        nginx_conf=folder / "nginx.conf",
        nginx_command=program or "nginx",
        test_command=None,
        reload_command=None,
        reload_interval=min(settings.reload_interval, 0.5),
        expose="labelled",
        networks=(),
        declare=(),
    )
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
            watched.append(Watched(inner, screen=screen, output=settings.output, port=port))
            return watched[0]

        control = None if port else _NoNginx()
        daemon = await stack.enter_async_context(app.build(settings, watch=watch, control=control))
        stopped = asyncio.Event()
        group = await stack.enter_async_context(asyncio.TaskGroup())
        group.create_task(app.keep_going(daemon, until=stopped), name="daemon")
        events = group.create_task(_show_events(settings, screen), name="events")
        stack.callback(events.cancel)
        stack.callback(stopped.set)
        await watched[0].reach({})
        yield watched[0]


@asynccontextmanager
async def _private_nginx(program: str, folder: Path, screen: Screen) -> AsyncIterator[int]:
    """Run an nginx of our own on a free loopback port, and give the port."""
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
        screen.say("nginx", f"a private one: http://127.0.0.1:{port}/ tells what its workers know", style="bold")
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
    """Print the engine's events as they come, by a subscription of the demo's own."""
    client = EngineClient(app.make_address(settings))
    names: dict[str, str] = {}
    decoder = EventDecoder()
    try:
        await client.ping()
        async with client.events(since_s=None) as chunks:
            async for chunk in chunks:
                for event in decoder.feed(chunk):
                    id = event.backend or ""
                    names.setdefault(id, (event.labels or {}).get("name", id[:12]))
                    screen.say("event", f"{event.action} {names[id]}", style="blue")
    finally:
        await client.close()


def _shown(output: Path) -> str:
    """Read the part of the output that any user would get."""
    return (files.read(output) or "").partition(_PAGE_MARK)[0].rstrip("\n")
